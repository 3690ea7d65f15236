"""The stage `pixels`: every photo is stored as the pixels that the encoder takes."""

from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_sources


def make_pixels(layout: Layout) -> dict:
    """Decode every photo once to the encoder's input, and store it.

    Returns:
        Facts for the manifest: the index of the pixels, and the number of stored images.

    Raises:
        UserError: A photo is unusable, unless the configuration says to skip such photos.
    """
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
