"""This module uses the photo side of an open_clip model as an encoder."""

import difflib
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder

_LOCAL = "local-dir:"


class ClipEncoder(Encoder):
    def __init__(
        self,
        clip: nn.Module,
        preprocess: Callable[[Image.Image], Tensor],
        grid: int | None = None,
        file: Path | None = None,
    ):
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
            out = visual.forward_intermediates(
                pixels_B3HW, indices=1, normalize_intermediates=True, output_extra_tokens=True
            )
        return (
            out["image_intermediates"][-1],
            out.get("image_intermediates_prefix", [None])[-1],
            out["image_features"],
        )


def check_known(name: str) -> None:
    """UserError with names that are near, where open_clip has no model of this one; its own message has all 140."""
    import open_clip

    if ":" not in name and open_clip.get_model_config(name) is None:
        near = (
            ", ".join(difflib.get_close_matches(name, open_clip.list_models(), n=5))
            or "see open_clip.list_models()"
        )
        raise UserError(f"encoder {name}: open_clip has no such model; near it: {near}")


def weights_of_user(name: str, pretrained: str | None) -> Path | None:
    file = (
        Path(name.removeprefix(_LOCAL), "open_clip_model.safetensors")
        if name.startswith(_LOCAL)
        else Path(pretrained or "")
    )
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


def local_name(folder: Path) -> str:
    """What open_clip calls a model in a folder."""
    return f"{_LOCAL}{folder}"
