"""The vision transformer of a BLIP checkpoint as an encoder.

`blip:NAME` is a checkpoint of transformers, on the hub or in a folder, that was converted from BLIP
or LAVIS (Li et al. 2022, arXiv 2201.12086). LaDiC reads these features.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import BlipConfig, BlipForConditionalGeneration, BlipVisionModel

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder, check_weights

# Those of CLIP's photos, with which BLIP was trained.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class BlipEncoder(Encoder):
    """Encoder that uses BLIP's vision transformer; the pooled vector is its class token.

    Attributes:
        vision: The frozen vision transformer.
    """

    vision: Any  # transformers' models have no fitting types

    def __init__(self, vision: Any, grid: int | None = None, file: Path | None = None):
        side = vision.config.image_size
        # Photos are squashed, as BLIP's own code does.
        preprocess = Compose(
            [Resize((side, side), InterpolationMode.BICUBIC), ToTensor(), Normalize(_MEAN, _STD)]
        )
        super().__init__(preprocess, side, grid, file)
        self.vision = vision.eval().requires_grad_(False)

    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        tokens_BNC = self.vision(pixels_B3HW).last_hidden_state
        cells = self.image_size[0] // self.vision.config.patch_size
        grid_BCHW = tokens_BNC[:, 1:].mT.unflatten(-1, (cells, cells))
        return grid_BCHW, tokens_BNC[:, :1], tokens_BNC[:, 0]


def load_blip(
    name: str, revision: str | None, grid: int | None = None, expected_sha256: str | None = None
) -> BlipEncoder:
    """Load the vision transformer of a BLIP checkpoint as an encoder.

    Args:
        name: A folder in transformers' format, or a name on the hub.
        revision: The commit of a name on the hub.
        grid: Average tokens to grid x grid where the encoder gives more.
        expected_sha256: Hash of the folder's `model.safetensors`, checked before it is read.

    Returns:
        The encoder, frozen and in evaluation mode.

    Raises:
        UserError: The checkpoint is unavailable, is not a BLIP, lacks weights of the vision
            transformer, or does not have the expected ones.
    """
    own = Path(name, "model.safetensors")
    file = own if own.is_file() else None
    check_weights(file, expected_sha256, f"encoder blip:{name}")
    model, found = _read(name, revision)
    if absent := [key for key in found["missing_keys"] if key.startswith("vision_model.")]:
        raise UserError(
            f"encoder blip:{name}: lacks {len(absent)} tensors of BLIP's vision transformer, such"
            f" as {sorted(absent)[0]}; name a checkpoint of BLIP in transformers' format"
        )
    return BlipEncoder(model.vision_model, grid, file)


def blip_without_weights(name: str, grid: int | None = None) -> BlipEncoder:
    """Build the encoder with random weights on torch's default device, from its configuration."""
    config: Any = _config(name, None)
    return BlipEncoder(BlipVisionModel(config.vision_config), grid)


def _read(name: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
    kind: Any = BlipForConditionalGeneration
    config = _config(name, revision)
    try:
        return kind.from_pretrained(
            name, config=config, revision=revision, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"encoder blip:{name}: {str(error).splitlines()[0]}") from None


def _config(name: str, revision: str | None) -> BlipConfig:
    try:
        settings, _ = BlipConfig.get_config_dict(name, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"encoder blip:{name}: {str(error).splitlines()[0]}") from None
    if settings.get("model_type") != "blip":
        raise UserError(
            f"encoder blip:{name}: is a {settings.get('model_type')!r} of transformers, not a BLIP;"
            " name another checkpoint"
        )
    return BlipConfig.from_dict(settings)
