"""The stage `features`: every photo is encoded once."""

import torch

from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_set


def make_features(layout: Layout) -> dict:
    """Encode every photo once, and store its features.

    Returns:
        Facts for the manifest: the index of the features, and the number of encoded images.

    Raises:
        UserError: A photo is unusable, unless the configuration says to skip such photos.
    """
    from dsacap.common.machine import device_of
    from dsacap.vision.features.encode import encode_photos

    photos, settings = photo_set(layout), layout.config.encoder
    encoder = load_configured_encoder(layout).to(device_of(layout.config.device))
    dtype = getattr(torch, settings.dtype)
    index = encode_photos(photos, encoder, layout.features, dtype, settings.views)
    return {**index, "images": len(photos.images) - len(index["skipped"])}
