"""The frozen image-text encoder, always an open_clip model: a tiny one trained on scenes, or any open_clip name and tag."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from PIL import Image
from torch import Tensor, nn

from dsacap.errors import UserError


class Encoder(nn.Module):
    """Turns photos into a grid of tokens (the captioners' input) and one pooled vector (the image-text space)."""

    def __init__(self, clip: nn.Module, preprocess: Callable[[Image.Image], Tensor], grid: int | None = None):
        super().__init__()
        self.clip, self.preprocess, self.grid = clip.eval().requires_grad_(False), preprocess, grid

    @torch.inference_mode()
    def forward(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, C] and unit vectors [B, E].

        Tokens are those of the last block or map; a class token comes first where the encoder has one.
        """
        visual = self.clip.visual
        if isinstance(visual, ModifiedResNet):
            out = visual.forward_intermediates(pixels_B3HW)
        else:
            out = visual.forward_intermediates(pixels_B3HW, indices=1, normalize_intermediates=True, output_extra_tokens=True)
        grid_BCHW, prefix_BPC = out["image_intermediates"][-1], out.get("image_intermediates_prefix", [None])[-1]
        if self.grid and self.grid < grid_BCHW.shape[-1]:
            grid_BCHW = F.adaptive_avg_pool2d(grid_BCHW, self.grid)
        tokens_BNC = grid_BCHW.flatten(2).mT
        if prefix_BPC is not None:
            tokens_BNC = torch.cat([prefix_BPC, tokens_BNC], dim=1)
        return tokens_BNC.float(), F.normalize(out["image_features"].float(), dim=-1)


def load_encoder(name: str, pretrained: str | None, grid: int | None = None) -> Encoder:
    """An encoder by open_clip name and tag (or checkpoint file), or from a folder written by `save_encoder` ("local-dir:...").

    Raises UserError where open_clip does not know it or its weights cannot be had.
    """
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained, weights_only=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"encoder {name} ({pretrained}): {error}") from None
    return Encoder(clip, preprocess, grid)


def local_name(folder: Path) -> str:
    """What open_clip calls a model in a folder."""
    return f"local-dir:{folder}"
