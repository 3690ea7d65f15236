"""The stage `degrade`: the test photos are degraded and encoded, for the robustness section."""

import shutil
from collections.abc import Callable
from functools import partial

import torch
from PIL import Image

from dsacap.common.files import replacing
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_set


def degrade_photos(layout: Layout) -> dict:
    """Encode the test photos once for each degradation and strength.

    Features are standardised by the statistics of the undegraded train photos, as in use.

    Returns:
        Facts for the manifest: the number of photos, and of degradations.

    Raises:
        UserError: A photo is unusable, unless the configuration says to skip such photos.
    """
    from dsacap.common.machine import device_of
    from dsacap.vision.degradations import DEGRADATIONS
    from dsacap.vision.features.encode import encode_altered

    photos = photo_set(layout, "test")
    encoder = load_configured_encoder(layout).to(device_of(layout.config.device))
    dtype = getattr(torch, layout.config.encoder.dtype)
    degradations = layout.config.robustness.degradations
    for kind, strength in degradations:
        folder = layout.degraded_as(kind, strength)
        alter = partial(_degraded, DEGRADATIONS[kind], strength)
        encode_altered(photos, encoder, folder, alter, dtype)
        with replacing(folder / "statistics.safetensors") as temporary:
            shutil.copyfile(layout.features / "statistics.safetensors", temporary)
    return {"images": len(photos.images), "degradations": len(degradations)}


def _degraded(
    degradation: Callable[[Image.Image, float], Image.Image], strength: float, photo: Image.Image
) -> Image.Image:
    return degradation(photo, strength)
