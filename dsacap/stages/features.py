"""The stage `features`: every photo is encoded once, or features that the user has are read."""

import torch

from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_set


def make_features(layout: Layout) -> dict:
    """Encode every photo once, or read its features, and store them.

    Returns:
        Facts for the manifest: the index of the features, and the number of encoded images.

    Raises:
        UserError: A photo is unusable, unless the configuration says to skip such photos; or the
            user's features are absent, damaged or of several shapes.
    """
    from dsacap.common.machine import device_of
    from dsacap.vision.features.encode import encode_photos
    from dsacap.vision.features.given import import_features

    photos, settings = photo_set(layout), layout.config.encoder
    dtype = getattr(torch, settings.dtype)
    if settings.features:
        index = import_features(photos, settings.features, layout.features, dtype)
        return {**index, "images": len(photos.images)}
    encoder = load_configured_encoder(layout).to(device_of(layout.config.device))
    index = encode_photos(photos, encoder, layout.features, dtype, settings.views)
    return {**index, "images": len(photos.images) - len(index["skipped"])}
