"""The encoder of photos, behind one door: an open_clip model (a tiny one trained on scenes, or any name and tag) or a timm model."""

import difflib
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dsacap.errors import UserError
from dsacap.files import sha256

T = TypeVar("T")

_LOCAL, _TIMM = "local-dir:", "timm:"


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
        last = getattr(self.preprocess, "transforms", [None])[-1]  # torchvision's Normalize; to import it takes a second
        if not (hasattr(last, "mean") and hasattr(last, "std")):
            raise UserError(f"{type(self).__name__}: photos cannot be kept as pixels, since how it scales them is not known")
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


class ClipEncoder(Encoder):
    def __init__(self, clip: nn.Module, preprocess: Callable[[Image.Image], Tensor], grid: int | None = None, file: Path | None = None):
        from open_clip.modified_resnet import ModifiedResNet

        super().__init__(preprocess, clip.visual.image_size, grid, file)
        self.clip = clip.eval().requires_grad_(False)
        self._residual = isinstance(clip.visual, ModifiedResNet)

    def for_photos_alone(self) -> "ClipEncoder":
        self.clip = nn.ModuleDict({"visual": self.clip.visual})  # under the same names of weights
        return self

    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        visual = self.clip.visual
        if self._residual:
            out = visual.forward_intermediates(pixels_B3HW)
        else:
            out = visual.forward_intermediates(pixels_B3HW, indices=1, normalize_intermediates=True, output_extra_tokens=True)
        return out["image_intermediates"][-1], out.get("image_intermediates_prefix", [None])[-1], out["image_features"]


def load_encoder(name: str, pretrained: str | None, grid: int | None = None, expected_sha256: str | None = None) -> Encoder:
    """An encoder by its name in the configuration.

    name: an open_clip name; "local-dir:FOLDER", written by `save_clip` or in the same format; or "timm:NAME".
    pretrained: a tag of open_clip or a file of weights; for timm a file, "package:NAME", or None for the name's own weights.
    expected_sha256: of the file of weights, also one that a tag fetches, checked before anything in it is read.

    Raises UserError where the name is unknown, the weights cannot be had, or are not those expected.
    """
    if name.startswith(_TIMM):
        from dsacap.vision.timm_encoder import load_timm

        return load_timm(name.removeprefix(_TIMM), pretrained, grid, expected_sha256)
    import open_clip  # takes seconds, which not every encoder should cost

    _check_known(name)
    where = f"encoder {name} ({pretrained})"
    tag = open_clip.get_pretrained_cfg(name, pretrained or "")
    try:
        file = Path(open_clip.download_pretrained(tag)) if tag else _weights_of_user(name, pretrained)
        check_weights(file, expected_sha256, where)
        clip, _, preprocess = open_clip.create_model_and_transforms(
            name, pretrained=pretrained, weights_only=True, force_quick_gelu=needs_quick_gelu(name, pretrained)
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

        from dsacap.vision.timm_encoder import TimmEncoder

        return TimmEncoder(timm.create_model(name.removeprefix(_TIMM), pretrained=False), grid)
    import open_clip

    _check_known(name)
    logging.disable(logging.WARNING)  # it warns of random weights
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(name, device=torch.get_default_device(), load_weights=False)
    finally:
        logging.disable(logging.NOTSET)
    return ClipEncoder(clip, preprocess, grid)


def _check_known(name: str) -> None:
    """UserError with names that are near, where open_clip has no model of this one; its own message has all 140."""
    import open_clip

    if ":" not in name and open_clip.get_model_config(name) is None:
        near = ", ".join(difflib.get_close_matches(name, open_clip.list_models(), n=5)) or "see open_clip.list_models()"
        raise UserError(f"encoder {name}: open_clip has no such model; near it: {near}")


def _weights_of_user(name: str, pretrained: str | None) -> Path | None:
    file = Path(name.removeprefix(_LOCAL), "open_clip_model.safetensors") if name.startswith(_LOCAL) else Path(pretrained or "")
    return file if file.is_file() else None


def needs_quick_gelu(name: str, pretrained: str | None) -> bool:
    """Whether the weights of a tag were trained with QuickGELU, as OpenAI's were. open_clip merely warns where its plain name is given, and
    the features are then those of another network. UserError where the name says so and the tag's were not."""
    import open_clip

    tag = open_clip.get_pretrained_cfg(name, pretrained or "")
    quick = bool(tag.get("quick_gelu"))
    if tag and not quick and (open_clip.get_model_config(name) or {}).get("quick_gelu"):
        told = f"encoder {name} ({pretrained}): these weights were not trained with QuickGELU"
        raise UserError(f"{told}; leave '-quickgelu' out of the name")
    return quick


def check_weights(file: Path | None, expected_sha256: str | None, where: str) -> None:
    """UserError if a hash is expected and the file has another, or there is no file that could have it."""
    if expected_sha256 is None:
        return
    if file is None:
        raise UserError(f"{where}: sha256 is that of a file of weights, and none is named; name one in `pretrained`, or leave sha256 out")
    found = sha256(file)
    if found != expected_sha256:
        raise UserError(f"{file}: sha256 is {found}, expected {expected_sha256}; fetch the right weights, or mend encoder.sha256")


def local_name(folder: Path) -> str:
    """What open_clip calls a model in a folder."""
    return f"{_LOCAL}{folder}"
