"""Degradations of photos, by which the benchmark measures how robust captioners are.

Each keeps the size of the photo. Random ones are seeded by the photo's own pixels, so that a photo
is degraded in the same way whatever else is degraded, and for every captioner alike.
"""

import hashlib
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter


def noise(photo: Image.Image, sd: float) -> Image.Image:
    """Add Gaussian noise to each channel of each pixel; `sd` is in units of 0 to 255."""
    pixels_HW3 = np.asarray(photo)
    seed = int.from_bytes(hashlib.sha256(pixels_HW3.tobytes()).digest()[:8], "big")
    noise_HW3 = np.random.default_rng(seed).standard_normal(pixels_HW3.shape, np.float32)
    return Image.fromarray((pixels_HW3 + sd * noise_HW3).round().clip(0, 255).astype(np.uint8))


def blur(photo: Image.Image, percent: float) -> Image.Image:
    """Blur by a Gaussian whose standard deviation is `percent` of the shorter side."""
    return photo.filter(ImageFilter.GaussianBlur(percent / 100 * min(photo.size)))


def jpeg(photo: Image.Image, quality: float) -> Image.Image:
    """Compress by JPEG at a quality of 1 to 95, and decode."""
    file = io.BytesIO()
    photo.save(file, "jpeg", quality=int(quality), subsampling=2)
    return Image.open(file).convert("RGB")


def darkness(photo: Image.Image, factor: float) -> Image.Image:
    """Multiply all pixels by a factor below 1."""
    return Image.fromarray((np.asarray(photo) * np.float32(factor)).round().astype(np.uint8))


DEGRADATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "noise": noise,
    "blur": blur,
    "jpeg": jpeg,
    "darkness": darkness,
}
