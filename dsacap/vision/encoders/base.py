"""This module defines what every encoder of photos can do, and checks files of weights."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.common.files import sha256


class Encoder(nn.Module, ABC):
    """Turns photos into a grid of tokens (the captioners' input) and one pooled vector (the image-text space, where there is one).

    A kind of encoder says in `_maps` where it keeps both. `file` is where its weights came from, if that is a file of the user's.
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
        return next(self.parameters()).device

    def shape(self) -> tuple[int, int, int]:
        """Tokens of a photo, their channels, and those of the pooled vector."""
        tokens_BNC, pooled_BE = self(torch.zeros(1, 3, *self.image_size, device=self.device))
        return tokens_BNC.shape[1], tokens_BNC.shape[2], pooled_BE.shape[1]

    @torch.inference_mode()
    def forward(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """As `see`, frozen."""
        return self.see(pixels_B3HW)

    def see(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, C] and unit vectors [B, E], with their gradient where weights or pixels have one.

        Tokens are those of the last block or map; a class token comes first where the encoder has one.
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
        """The last map [B, C, H, W], the class token and its like [B, P, C] if any, and the pooled vector [B, E]."""

    def for_photos_alone(self) -> "Encoder":
        """Itself, without what reads text: all that is left looks at photos, and can be trained with a captioner."""
        return self

    def to_bytes(self, photo: Image.Image) -> Tensor:
        """A photo as `preprocess` makes it, but for the last step, in whole numbers [3, H, W] of 8 bits: as little as it can be kept in.
        UserError where `preprocess` does not end by scaling channels, as those of open_clip and timm do."""
        self._scaling()
        for step in self.preprocess.transforms[:-1]:
            photo = step(photo)
        return photo.mul(255).round().byte()

    def from_bytes(self, bytes_B3HW: Tensor) -> Tensor:
        """What `preprocess` gives, of what `to_bytes` gave, on its device."""
        mean, std = self._scaling()
        return (bytes_B3HW / 255 - mean.to(bytes_B3HW.device)) / std.to(bytes_B3HW.device)

    def _scaling(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [3, 1, 1] by which pixels from 0 to 1 are scaled."""
        last = getattr(self.preprocess, "transforms", [None])[
            -1
        ]  # torchvision's Normalize; to import it takes a second
        if not (hasattr(last, "mean") and hasattr(last, "std")):
            raise UserError(
                f"{type(self).__name__}: photos cannot be kept as pixels, since how it scales them is not known"
            )
        mean, std = (torch.as_tensor(values, dtype=torch.float) for values in (last.mean, last.std))
        return mean[:, None, None], std[:, None, None]

    def identity(self) -> dict[str, str]:
        """What the weights are: the name and sha256 of their file, or the sha256 of the tensors where a library fetched them."""
        if self.file:
            return {"file": self.file.name, "sha256": sha256(self.file)}
        return {"tensors_sha256": self.tensors_sha256()}

    def tensors_sha256(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def check_weights(file: Path | None, expected_sha256: str | None, where: str) -> None:
    """UserError if a hash is expected and the file has another, or there is no file that could have it."""
    if expected_sha256 is None:
        return
    if file is None:
        raise UserError(
            f"{where}: sha256 is that of a file of weights, and none is named; name one in `pretrained`, or leave sha256 out"
        )
    found = sha256(file)
    if found != expected_sha256:
        raise UserError(
            f"{file}: sha256 is {found}, expected {expected_sha256}; fetch the right weights, or mend encoder.sha256"
        )
