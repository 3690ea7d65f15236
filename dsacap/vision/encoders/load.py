"""Encoders by name: open_clip, the tiny model trained on scenes included; timm; BLIP; patches."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from dsacap.common.errors import UserError
from dsacap.config.encoder import BLIP, PATCHES
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
    """Load an encoder by its name in the configuration.

    Args:
        name: An open_clip name; `local-dir:FOLDER`, as written by `save_clip` or in the same
            format; `timm:NAME`; `blip:NAME`; or `patches:SIZE/PATCH`, which has no weights.
        pretrained: A tag of open_clip or a weights file. For timm a file, `package:NAME`, or None
            for the weights of that name. For a BLIP on the hub its commit.
        grid: Average tokens to grid x grid where the encoder gives more.
        expected_sha256: Hash of the weights file, including one that a tag downloads. It is
            checked before anything in the file is read.

    Returns:
        The encoder, frozen and in evaluation mode.

    Raises:
        UserError: The name is unknown, or the weights are unavailable or not the expected ones.
    """
    if name.startswith(PATCHES):
        from dsacap.vision.encoders.patch_encoder import patches

        check_weights(None, expected_sha256, f"encoder {name}")
        return patches(name, grid)
    if name.startswith(_TIMM):
        from dsacap.vision.encoders.timm_encoder import load_timm

        return load_timm(name.removeprefix(_TIMM), pretrained, grid, expected_sha256)
    if name.startswith(BLIP):
        from dsacap.vision.encoders.blip_encoder import load_blip

        return load_blip(name.removeprefix(BLIP), pretrained, grid, expected_sha256)
    import open_clip  # takes seconds, which timm models need not pay

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


def lacks_weights(name: str, pretrained: str | None) -> str | None:
    """Return why a model of open_clip cannot be loaded without a download, if that is so.

    Args:
        name: As for `load_encoder`.
        pretrained: As for `load_encoder`.

    Raises:
        UserError: The name is unknown.
    """
    import open_clip

    check_known(name)
    tag = open_clip.get_pretrained_cfg(name, pretrained or "")
    if not tag:
        return None
    repository, _, file = tag["hf_hub"].rpartition("/")
    files = (file or open_clip.constants.HF_WEIGHTS_NAME, open_clip.constants.HF_SAFE_WEIGHTS_NAME)
    files += (str(Path(file).with_suffix(".safetensors")),) if file else ()
    if any(_is_here(repository, one) for one in files):
        return None
    return (
        f"the weights of {name} ({pretrained}) are not on this machine. Download them by"
        f" `hf download {repository}{f' {file}' if file else ''}`, or name a file of weights by"
        " --pretrained"
    )


def _is_here(repository: str, file: str) -> bool:
    from transformers.utils import cached_file

    try:
        return cached_file(repository, file, local_files_only=True) is not None
    except OSError:
        return False


def shape_without_weights(name: str, grid: int | None = None) -> tuple[int, int, int]:
    """Return `Encoder.shape` of an encoder within a second and without downloading anything.

    Args:
        name: As for `load_encoder`.
        grid: As for `load_encoder`.

    Returns:
        Tokens of a photo, their channels, and the width of the pooled vector.

    Raises:
        UserError: The name is unknown.
    """
    return _of_bare(name, grid, Encoder.shape)


def input_size(name: str) -> tuple[int, int]:
    """Return the height and width of an encoder's input, without downloading anything.

    Raises UserError if the name is unknown.
    """
    return _of_bare(name, None, lambda encoder: encoder.image_size)


def _of_bare(name: str, grid: int | None, ask: Callable[[Encoder], T]) -> T:
    """Return what `ask` finds out about an encoder whose weights are on the meta device."""
    try:
        with torch.device("meta"):
            return ask(without_weights(name, grid))
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"encoder {name}: {error}") from None


def without_weights(name: str, grid: int | None = None) -> Encoder:
    """Build an encoder with random weights on torch's default device, within a second.

    Raises whatever the library raises if the name is unknown.
    """
    if name.startswith(PATCHES):
        from dsacap.vision.encoders.patch_encoder import patches

        return patches(name, grid)
    if name.startswith(_TIMM):
        import timm

        from dsacap.vision.encoders.timm_encoder import TimmEncoder

        return TimmEncoder(timm.create_model(name.removeprefix(_TIMM), pretrained=False), grid)
    if name.startswith(BLIP):
        from dsacap.vision.encoders.blip_encoder import blip_without_weights

        return blip_without_weights(name.removeprefix(BLIP), grid)
    import open_clip

    check_known(name)
    logging.disable(logging.WARNING)  # open_clip warns about random weights, which are intended
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(
            name, device=torch.get_default_device(), load_weights=False
        )
    finally:
        logging.disable(logging.NOTSET)
    return ClipEncoder(clip, preprocess, grid)
