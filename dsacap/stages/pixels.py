"""This stage stores every photo as the pixels that an encoder sees."""

from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_sources


def make_pixels(layout: Layout) -> dict:
    """Decodes every photo once, to what the encoder looks at."""
    from dsacap.vision.features.pixels import store_pixels

    images = [example.image for example in load_examples(layout.data)]
    encoder = layout.config.encoder
    index = store_pixels(
        images,
        photo_sources(layout, images),
        load_configured_encoder(layout),
        layout.pixels,
        batch_size=encoder.batch_size,
        shard_size=encoder.shard_size,
        on_bad_image=encoder.on_bad_image,
        workers=encoder.workers,
    )
    return {**index, "images": len(images) - len(index["skipped"])}
