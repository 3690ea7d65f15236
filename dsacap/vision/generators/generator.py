"""From a caption back to a picture, or to what an encoder sees in one: the judge of DSACap's reconstruction reward.

Two kinds behind one door, both loaded by diffusers' `from_pretrained`: a prior that yields features (caption_prior.py), and any
text-to-image pipeline, whose pictures the encoder looks at. Noise is drawn per (seed, image id), so that all captions of an image are
painted from the same noise (common random numbers) and differ by what they say alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.caption_prior import CaptionPrior


class Generator(ABC):
    """`grid`: what is compared is the mean of the encoder's tokens in each cell of grid x grid, as finer detail is not in a caption; or,
    where it is None, the encoder's pooled vector."""

    def __init__(self, grid: int | None, seed: int = 0):
        self.grid, self.seed = grid, seed

    @abstractmethod
    def reconstruct(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        """What the encoder sees in pictures of tokenised captions, as `seen` has it of originals."""

    def embed(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        """Unit vectors [n, E], to be compared with those of originals (`originals`) by their dot product."""
        return embedding(self.reconstruct(captions, image_ids))

    def _noise(self, image_ids: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        drawn = {
            i: np.random.default_rng([self.seed, i]).standard_normal(shape, np.float32)
            for i in set(image_ids)
        }
        return torch.from_numpy(np.stack([drawn[i] for i in image_ids]))


class FeatureGenerator(Generator):
    """A caption prior: no pixels."""

    def __init__(self, prior: CaptionPrior, grid: int | None, seed: int = 0):
        super().__init__(grid, seed)
        self.prior = prior

    def reconstruct(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        noise_BE = self._noise(image_ids, (self.prior.prior.config.embedding_dim,)).to(
            self.prior.device
        )
        return self.prior(captions, noise_BE).unflatten(-1, ((self.grid or 1) ** 2, -1)).float()


class PixelGenerator(Generator):
    """A text-to-image pipeline of SD-Turbo's kind: few steps, no guidance, timesteps spaced from the last one back."""

    def __init__(
        self,
        pipeline,
        encoder: Encoder,
        store: FeatureStore,
        grid: int | None,
        *,
        steps: int,
        size: int,
        batch_size: int,
        seed: int = 0,
    ):
        super().__init__(grid, seed)
        pipeline.scheduler = type(pipeline.scheduler).from_config(
            pipeline.scheduler.config, timestep_spacing="trailing"
        )
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline, self.encoder, self.store = pipeline, encoder.to(pipeline.device), store
        self.steps, self.size, self.batch_size = steps, size, batch_size

    def reconstruct(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        parts = [slice(at, at + self.batch_size) for at in range(0, len(captions), self.batch_size)]
        return torch.cat(
            [self._seen(self.paint(captions[part], image_ids[part])) for part in parts]
        )

    def paint(self, captions: Sequence[str], image_ids: Sequence[int]) -> list:
        """PIL images."""
        side = self.size // self.pipeline.vae_scale_factor
        latents = self._noise(image_ids, (self.pipeline.unet.config.in_channels, side, side))
        return self.pipeline(
            list(captions),
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps,
            guidance_scale=0.0,
            latents=latents.to(self.pipeline.device, self.pipeline.unet.dtype),
        ).images

    def _seen(self, photos: list) -> Tensor:
        pixels_B3HW = torch.stack([self.encoder.preprocess(photo) for photo in photos])
        tokens_BNC, pooled_BE = self.encoder(pixels_B3HW.to(self.pipeline.device))
        if self.grid is None:
            return pooled_BE[:, None].cpu()
        return coarse(self.store.standardised(tokens_BNC.cpu()), self.grid)


def load_pixel_pipeline(name: str, revision: str | None, device: torch.device):
    """Any text-to-image pipeline of diffusers by its hub name or folder; weights in safetensors only. UserError where it cannot be had."""
    from diffusers import (
        AutoPipelineForText2Image,
    )  # which takes seconds to load, all pipelines of diffusers with it

    dtype = torch.float16 if device.type == "cuda" else torch.float32
    try:
        return AutoPipelineForText2Image.from_pretrained(
            name,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            safety_checker=None,
        ).to(device)
    except (OSError, ValueError) as error:
        raise UserError(
            f"generator {name}: {str(error).splitlines()[0]}; give a folder in diffusers' format, or a name of the hub"
        ) from None


def load_caption_prior(folder: Path, device: torch.device) -> CaptionPrior:
    """What the stage `generator` has trained. UserError where it has not."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: is not there; run `dsacap generator` with the same configuration first"
        )
    return CaptionPrior.from_pretrained(
        folder, use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True
    ).to(device)


def seen(store: FeatureStore, image_ids: Sequence[int], grid: int | None) -> Tensor:
    """What the encoder sees in originals: coarse standardised tokens [n, grid * grid, C], or without a grid unit vectors [n, 1, E]."""
    return (
        store.read_pooled(image_ids)[:, None]
        if grid is None
        else coarse(store.read(image_ids), grid)
    )


def originals(store: FeatureStore, image_ids: Sequence[int], grid: int | None) -> Tensor:
    """Unit vectors [n, E] that those of `Generator.embed` are compared with."""
    return embedding(seen(store, image_ids, grid))


def coarse(tokens_BNC: Tensor, grid: int) -> Tensor:
    """Means [B, grid * grid, C] of the tokens in each cell; class tokens, which come first, are left out."""
    side = math.isqrt(tokens_BNC.shape[1])
    map_BCHW = tokens_BNC[:, -side * side :].mT.unflatten(-1, (side, side))
    return F.adaptive_avg_pool2d(map_BCHW, min(grid, side)).flatten(2).mT


def embedding(coarse_BNC: Tensor) -> Tensor:
    """Unit vectors [B, E]. The dot product of two is the mean of two cosines: of all cells in a row, and of the mean over cells.

    The second tells what is there, wherever it is. On scenes both together tell right captions from wrong ones better than the first.
    """
    return torch.cat(
        [F.normalize(coarse_BNC.flatten(1), dim=-1), F.normalize(coarse_BNC.mean(1), dim=-1)],
        dim=-1,
    ) / math.sqrt(2)


def auc(right: Tensor, wrong: Tensor) -> float:
    """Share of images whose right caption scores above their wrong one; half of the ties (the area under the paired ROC curve)."""
    return ((right > wrong).double() + 0.5 * (right == wrong)).mean().item()
