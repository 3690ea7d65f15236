"""This module loads encoders by their names: an open_clip model (a tiny one trained on scenes, or any name and tag) or a timm model."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder, check_weights
from dsacap.vision.encoders.clip_encoder import (
    ClipEncoder,
    check_known,
    needs_quick_gelu,
    weights_of_user,
)

T = TypeVar("T")
_TIMM = "timm:"


def load_encoder(
    name: str, pretrained: str | None, grid: int | None = None, expected_sha256: str | None = None
) -> Encoder:
    """An encoder by its name in the configuration.

    name: an open_clip name; "local-dir:FOLDER", written by `save_clip` or in the same format; or "timm:NAME".
    pretrained: a tag of open_clip or a file of weights; for timm a file, "package:NAME", or None for the name's own weights.
    expected_sha256: of the file of weights, also one that a tag fetches, checked before anything in it is read.

    Raises UserError where the name is unknown, the weights cannot be had, or are not those expected.
    """
    if name.startswith(_TIMM):
        from dsacap.vision.encoders.timm_encoder import load_timm

        return load_timm(name.removeprefix(_TIMM), pretrained, grid, expected_sha256)
    import open_clip  # takes seconds, which not every encoder should cost

    check_known(name)
    where = f"encoder {name} ({pretrained})"
    tag = open_clip.get_pretrained_cfg(name, pretrained or "")
    try:
        file = (
            Path(open_clip.download_pretrained(tag)) if tag else weights_of_user(name, pretrained)
        )
        check_weights(file, expected_sha256, where)
        clip, _, preprocess = open_clip.create_model_and_transforms(
            name,
            pretrained=pretrained,
            weights_only=True,
            force_quick_gelu=needs_quick_gelu(name, pretrained),
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{where}: {error}") from None
    return ClipEncoder(clip, preprocess, grid, file)


def shape_without_weights(name: str, grid: int | None = None) -> tuple[int, int, int]:
    """As `Encoder.shape`, in a second and without fetching anything. UserError where the name is unknown."""
    return _of_bare(name, grid, Encoder.shape)


def input_size(name: str) -> tuple[int, int]:
    """Height and width of the pixels that an encoder looks at, likewise."""
    return _of_bare(name, None, lambda encoder: encoder.image_size)


def _of_bare(name: str, grid: int | None, told: Callable[[Encoder], T]) -> T:
    try:
        with torch.device("meta"):
            return told(without_weights(name, grid))
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"encoder {name}: {error}") from None


def without_weights(name: str, grid: int | None = None) -> Encoder:
    """An encoder by its name, with random weights on torch's default device, in a second. Raises what its library raises."""
    if name.startswith(_TIMM):
        import timm

        from dsacap.vision.encoders.timm_encoder import TimmEncoder

        return TimmEncoder(timm.create_model(name.removeprefix(_TIMM), pretrained=False), grid)
    import open_clip

    check_known(name)
    logging.disable(logging.WARNING)  # it warns of random weights
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(
            name, device=torch.get_default_device(), load_weights=False
        )
    finally:
        logging.disable(logging.NOTSET)
    return ClipEncoder(clip, preprocess, grid)
