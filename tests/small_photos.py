"""Tiny photos to encode in every format."""

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 16
RED = (255, 0, 0)


def encode(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def solid(mode: str, colour) -> Image.Image:
    return Image.new(mode, (WIDTH, HEIGHT), colour)


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    )


def turned() -> Image.Exif:
    """Return the EXIF data of a turned camera: upright is 90 degrees clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
