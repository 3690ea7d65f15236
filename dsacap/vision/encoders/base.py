"""The interface of all image encoders, and the check of weights files."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.common.files import sha256

if TYPE_CHECKING:
    from PIL import Image


class Encoder(nn.Module, ABC):
    """Base class of image encoders.

    An encoder turns photos into a grid of tokens, which is the captioners' input, and one pooled
    vector, which lies in the image-text space where there is one. Subclasses implement `_maps`.

    Attributes:
        preprocess: Turns an RGB photo into the pixels that the encoder takes.
        image_size: Height and width of these pixels.
        grid: Tokens are averaged to grid x grid where the encoder gives more; None keeps them all.
        file: The weights file, if it is one of the user's own.
    """

    def __init__(
        self,
        preprocess: Callable[[Image.Image], Tensor],
        image_size: int | tuple[int, int],
        grid: int | None = None,
        file: Path | None = None,
    ):
        super().__init__()
        self.preprocess, self.grid, self.file = preprocess, grid, file
        self.image_size = image_size if isinstance(image_size, tuple) else (image_size, image_size)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.parameters()).device

    def shape(self) -> tuple[int, int, int]:
        """Return the tokens of a photo, their channels, and the width of the pooled vector."""
        tokens_BNC, pooled_BE = self(torch.zeros(1, 3, *self.image_size, device=self.device))
        return tokens_BNC.shape[1], tokens_BNC.shape[2], pooled_BE.shape[1]

    @torch.inference_mode()
    def forward(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `encode` returns, without gradients."""
        return self.encode(pixels_B3HW)

    def encode(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pixels, keeping gradients where weights or pixels require them.

        Args:
            pixels_B3HW: Preprocessed pixels (batch, 3, height, width).

        Returns:
            Tokens (batch, tokens, channels) of the last block or feature map, with the class token
            first where the encoder has one; and pooled unit vectors (batch, width).
        """
        grid_BCHW, prefix_BPC, pooled_BE = self._maps(pixels_B3HW)
        if self.grid and self.grid < grid_BCHW.shape[-1]:
            grid_BCHW = F.adaptive_avg_pool2d(grid_BCHW, self.grid)
        tokens_BNC = grid_BCHW.flatten(2).mT
        if prefix_BPC is not None:
            tokens_BNC = torch.cat([prefix_BPC, tokens_BNC], dim=1)
        return tokens_BNC.float(), F.normalize(pooled_BE.float(), dim=-1)

    @abstractmethod
    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Compute the outputs that `encode` is made of.

        Returns:
            The last feature map (batch, channels, height, width); class and other prefix tokens
            (batch, prefix, channels), or None; and the pooled vectors (batch, width).
        """

    def for_photos_alone(self) -> Encoder:
        """Return this encoder without its text tower, if any, so that all its weights see photos.

        What is left can be trained together with a captioner.
        """
        return self

    def to_bytes(self, photo: Image.Image) -> Tensor:
        """Preprocess a photo up to the normalisation of channels, which is the last step.

        Args:
            photo: An RGB photo.

        Returns:
            Pixels (3, height, width) as uint8, the most compact form that loses nothing.

        Raises:
            UserError: `preprocess` does not end with a normalisation of channels, as the
                preprocessing of open_clip and timm does.
        """
        pixels: Any = photo
        for step in self._preprocessing_steps()[:-1]:
            pixels = step(pixels)
        return pixels.mul(255).round().byte()

    def from_bytes(self, bytes_B3HW: Tensor) -> Tensor:
        """Turn pixels from `to_bytes` into what `preprocess` returns, on their device."""
        return self._normalised(bytes_B3HW / 255)

    def from_pictures(self, pictures_B3HW: Tensor) -> Tensor:
        """Preprocess generated pictures on their device.

        Args:
            pictures_B3HW: RGB pictures (batch, 3, height, width) in [0, 1].

        Returns:
            What `preprocess` would return for each, but for the rounding of pixels to 8 bits.

        Raises:
            UserError: `preprocess` does not end with a normalisation of channels.
        """
        pixels = pictures_B3HW.float()
        for step in self._preprocessing_steps()[:-1]:
            if isinstance(step, nn.Module):  # the others turn photos into RGB and into tensors
                pixels = step(pixels)
        return self._normalised(pixels.clamp(0, 1))  # bicubic resizing overshoots

    def _normalised(self, pixels_B3HW: Tensor) -> Tensor:
        """Scale pixels in [0, 1] by the mean and standard deviation of each channel."""
        last = self._preprocessing_steps()[-1]
        mean, std = (torch.as_tensor(values, dtype=torch.float) for values in (last.mean, last.std))
        mean, std = (
            x[:, None, None].to(pixels_B3HW.device, non_blocking=True) for x in (mean, std)
        )
        return (pixels_B3HW - mean) / std

    def _preprocessing_steps(self) -> Sequence[Any]:
        """Return the steps of `preprocess`, and raise UserError unless it ends by normalising."""
        steps = getattr(self.preprocess, "transforms", [None])
        # Compared by attributes, since importing torchvision's Normalize takes a second.
        if not (hasattr(steps[-1], "mean") and hasattr(steps[-1], "std")):
            raise UserError(
                f"{type(self).__name__}: photos cannot be kept as pixels, because its preprocessing"
                " does not end with a normalisation of channels; leave training.fine_tune out, or"
                " choose an encoder of open_clip or timm"
            )
        return steps

    def identity(self) -> dict[str, str]:
        """Return what identifies the weights, for provenance.

        Returns:
            `file` and `sha256` of the user's weights file, or `tensors_sha256` if a library
            fetched the weights.
        """
        if self.file:
            return {"file": self.file.name, "sha256": sha256(self.file)}
        return {"tensors_sha256": self.tensors_sha256()}

    def tensors_sha256(self) -> str:
        """Return the hash of the names, types, shapes and values of all weights."""
        digest = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def check_weights(file: Path | None, expected_sha256: str | None, where: str) -> None:
    """Raise UserError if a hash is expected and the weights file has another one, or is missing.

    Args:
        file: The weights file; None if the configuration names none.
        expected_sha256: The configured hash; None accepts any file.
        where: The encoder, for the message.
    """
    if expected_sha256 is None:
        return
    if file is None:
        raise UserError(
            f"{where}: sha256 is the hash of a weights file, but no file is configured; name one"
            " in `pretrained`, or leave sha256 out"
        )
    found = sha256(file)
    if found != expected_sha256:
        raise UserError(
            f"{file}: sha256 is {found}, expected {expected_sha256}; download the right weights,"
            " or correct encoder.sha256"
        )
