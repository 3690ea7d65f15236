"""The stage `pixels`: every photo is stored as the pixels that the encoder takes."""

from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_set


def make_pixels(layout: Layout) -> dict:
    """Decode every photo once to the encoder's input, and store it.

    Returns:
        Facts for the manifest: the index of the pixels, and the number of stored images.

    Raises:
        UserError: A photo is unusable, unless the configuration says to skip such photos.
    """
    from dsacap.vision.features.pixels import store_pixels

    photos = photo_set(layout)
    index = store_pixels(photos, load_configured_encoder(layout), layout.pixels)
    return {**index, "images": len(photos.images) - len(index["skipped"])}
