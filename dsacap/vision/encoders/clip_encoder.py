"""The image tower of an open_clip model as an encoder."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder

_LOCAL = "local-dir:"


class ClipEncoder(Encoder):
    """Encoder that uses the image tower of an open_clip model, and keeps its text tower.

    Attributes:
        clip: The frozen open_clip model, or its image tower alone after `for_photos_alone`.
    """

    clip: Any  # open_clip has no annotations

    def __init__(
        self,
        clip: nn.Module,
        preprocess: Callable[[Image.Image], Tensor],
        grid: int | None = None,
        file: Path | None = None,
    ):
        from open_clip.modified_resnet import ModifiedResNet

        visual: Any = clip.visual
        super().__init__(preprocess, visual.image_size, grid, file)
        self.clip = clip.eval().requires_grad_(False)
        self._residual = isinstance(visual, ModifiedResNet)

    def for_photos_alone(self) -> "ClipEncoder":
        """Drop the text tower; the weights of the image tower keep their names."""
        self.clip = nn.ModuleDict({"visual": self.clip.visual})
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
    """Raise UserError with similar names if open_clip has no model of this name.

    open_clip's own message would list all 140 names.
    """
    import open_clip

    if ":" not in name and open_clip.get_model_config(name) is None:
        similar = (
            ", ".join(difflib.get_close_matches(name, open_clip.list_models(), n=5))
            or "see open_clip.list_models()"
        )
        raise UserError(f"encoder {name}: open_clip has no such model; similar names: {similar}")


def weights_of_user(name: str, pretrained: str | None) -> Path | None:
    """Return the weights file on this machine that the configuration names, if there is one.

    Args:
        name: An open_clip name, or `local-dir:FOLDER`.
        pretrained: A path, or a tag of open_clip, for which there is no file here.
    """
    file = (
        Path(name.removeprefix(_LOCAL), "open_clip_model.safetensors")
        if name.startswith(_LOCAL)
        else Path(pretrained or "")
    )
    return file if file.is_file() else None


def needs_quick_gelu(name: str, pretrained: str | None) -> bool:
    """Return whether the weights of a tag were trained with QuickGELU, as OpenAI's were.

    Under a plain name open_clip only warns about such weights, and then computes the features of
    another network.

    Args:
        name: An open_clip name.
        pretrained: A tag of open_clip, or anything else, for which the result is False.

    Raises:
        UserError: The name asks for QuickGELU, and the tag's weights were trained without it.
    """
    import open_clip

    tag = open_clip.get_pretrained_cfg(name, pretrained or "")
    quick = bool(tag.get("quick_gelu"))
    if tag and not quick and (open_clip.get_model_config(name) or {}).get("quick_gelu"):
        problem = f"encoder {name} ({pretrained}): these weights were not trained with QuickGELU"
        raise UserError(f"{problem}; remove '-quickgelu' from the name")
    return quick


def local_name(folder: Path) -> str:
    """Return open_clip's name of a model that is saved in a folder."""
    return f"{_LOCAL}{folder}"
