"""Patches of pixels as tokens: an encoder without weights, for systems that learn to see.

`patches:SIZE/PATCH` squashes a photo to SIZE x SIZE pixels and cuts it into tokens of PATCH x PATCH
pixels. A denoiser of these tokens is a diffusion model of pixels, and the only network that sees
the photo.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.config.encoder import PATCHES
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.encoders.squash import squashing

_SIZES = re.compile(rf"{PATCHES}([1-9]\d{{0,3}})/([1-9]\d{{0,3}})")


class PatchEncoder(Encoder):
    """Encoder whose tokens are the pixels of a photo's patches; their mean is the pooled vector.

    Attributes:
        patch: Height and width of a patch.
    """

    def __init__(self, size: int, patch: int, grid: int | None = None):
        """Raise ValueError unless the patches tile the photo."""
        if size % patch:
            raise ValueError(f"patches of {patch} pixels do not tile {size} pixels")
        super().__init__(squashing(size), size, grid)
        self.patch = patch
        self.register_buffer("_place", torch.empty(0), persistent=False)  # there are no weights
        self.eval()

    @property
    def device(self) -> torch.device:
        """The device that the encoder was moved to."""
        return self.get_buffer("_place").device

    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        grid_BCHW = F.pixel_unshuffle(pixels_B3HW, self.patch)
        return grid_BCHW, None, grid_BCHW.mean((2, 3))


def patches(name: str, grid: int | None = None) -> PatchEncoder:
    """Return the encoder of a name `patches:SIZE/PATCH`.

    Args:
        name: The name.
        grid: Average patches to grid x grid where there are more.

    Raises:
        UserError: The name has another form, or the patches do not tile the photo.
    """
    sizes = _SIZES.fullmatch(name)
    if sizes is None:
        raise UserError(
            f"encoder {name}: write {PATCHES}SIZE/PATCH, both in pixels, such as {PATCHES}64/8"
        )
    try:
        return PatchEncoder(int(sizes[1]), int(sizes[2]), grid)
    except ValueError as error:
        raise UserError(f"encoder {name}: {error}; choose a PATCH that divides SIZE") from None
