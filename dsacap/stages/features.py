"""The stage `features`: every photo is encoded once."""

import torch

from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_sources


def make_features(layout: Layout) -> dict:
    """Encode every photo once, and store its features.

    Returns:
        Facts for the manifest: the index of the features, and the number of encoded images.

    Raises:
        UserError: A photo is unusable, unless the configuration says to skip such photos.
    """
    from dsacap.common.machine import device_of
    from dsacap.vision.features.encode import encode_photos

    images = [example.image for example in load_examples(layout.data)]
    encoder = layout.config.encoder
    index = encode_photos(
        images,
        photo_sources(layout, images),
        load_configured_encoder(layout).to(device_of(layout.config.device)),
        layout.features,
        batch_size=encoder.batch_size,
        shard_size=encoder.shard_size,
        on_bad_image=encoder.on_bad_image,
        dtype=getattr(torch, encoder.dtype),
        views=encoder.views,
        workers=encoder.workers,
    )
    return {**index, "images": len(images) - len(index["skipped"])}
