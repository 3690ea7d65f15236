"""Generators, which turn a caption back into an image or its features.

They compute DSACap's reconstruction reward. Two kinds share one interface, and both are loaded by
diffusers' `from_pretrained`: a prior that generates features (caption_prior.py), and any
text-to-image pipeline, whose images the encoder encodes. Noise is drawn per (seed, image id), so
that all captions of an image start from the same noise (common random numbers) and their results
differ only because the captions do.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.caption_prior import CaptionPrior


class Generator(ABC):
    """Base class of generators.

    Attributes:
        grid: Images are compared by the mean of the encoder's tokens in each cell of grid x grid,
            since a caption has no finer detail; or, if it is None, by the encoder's pooled vector.
        seed: Seed of the noise.
    """

    def __init__(self, grid: int | None, seed: int = 0):
        self.grid, self.seed = grid, seed

    @abstractmethod
    def reconstruct(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        """Generate the features of images from captions.

        Args:
            captions: Tokenised captions.
            image_ids: The image of each caption, which determines the noise.

        Returns:
            Features (captions, cells, channels), as `original_features` returns those of originals.
        """

    def embed(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        """Return what `reconstruct` generates as unit vectors.

        Args:
            captions: Tokenised captions.
            image_ids: The image of each caption, which determines the noise.

        Returns:
            Unit vectors (captions, width), whose dot products with those of `originals` measure
            how well each caption reconstructs its image.
        """
        return embedding(self.reconstruct(captions, image_ids))

    def _noise(self, image_ids: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        noise_of = {
            i: np.random.default_rng([self.seed, i]).standard_normal(shape, np.float32)
            for i in set(image_ids)
        }
        return torch.from_numpy(np.stack([noise_of[i] for i in image_ids]))


class FeatureGenerator(Generator):
    """Generator of features by a caption prior, without pixels."""

    def __init__(self, prior: CaptionPrior, grid: int | None, seed: int = 0):
        super().__init__(grid, seed)
        self.prior = prior

    def reconstruct(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        """Generate features in one denoising step."""
        noise_BE = self._noise(image_ids, (self.prior.prior.config["embedding_dim"],)).to(
            self.prior.device, non_blocking=True
        )
        return self.prior(captions, noise_BE).unflatten(-1, ((self.grid or 1) ** 2, -1)).float()


class PixelGenerator(Generator):
    """Generator of images by a text-to-image pipeline like SD-Turbo, whose images are encoded.

    It denoises in few steps, without guidance, at timesteps that are spaced from the last one down.

    Attributes:
        pipeline: The text-to-image pipeline of diffusers.
        encoder: The encoder of the generated images.
        store: Features of the originals, whose statistics standardise those of generated images.
        steps: Denoising steps.
        size: Height and width of the generated images in pixels.
        batch_size: Captions per call of the pipeline, at most; halved whenever the memory of the
            GPU does not suffice.
    """

    def __init__(
        self,
        pipeline: Any,
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
        """Generate images and encode them, a batch at a time, on the device of the pipeline."""
        made: list[Tensor] = []
        at = 0
        while at < len(captions):
            part = slice(at, at + self.batch_size)
            try:
                made.append(self._encode(self.paint(captions[part], image_ids[part])))
                at = part.stop
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                torch.cuda.empty_cache()
        return torch.cat(made)

    def paint(self, captions: Sequence[str], image_ids: Sequence[int]) -> Tensor:
        """Generate one image per caption.

        Args:
            captions: Tokenised captions.
            image_ids: The image of each caption, which determines the noise.

        Returns:
            RGB images (captions, 3, size, size) in [0, 1], on the device of the pipeline.
        """
        side = self.size // self.pipeline.vae_scale_factor
        latents = self._noise(image_ids, (self.pipeline.unet.config.in_channels, side, side))
        return self.pipeline(
            list(captions),
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps,
            guidance_scale=0.0,
            latents=latents.to(self.pipeline.device, self.pipeline.unet.dtype, non_blocking=True),
            output_type="pt",
        ).images

    def _encode(self, pictures_B3HW: Tensor) -> Tensor:
        tokens_BNC, pooled_BE = self.encoder(self.encoder.from_pictures(pictures_B3HW))
        if self.grid is None:
            return pooled_BE[:, None]
        return coarse(self.store.standardised(tokens_BNC), self.grid)


def load_pixel_pipeline(name: str, revision: str | None, device: torch.device) -> Any:
    """Load a text-to-image pipeline of diffusers, with weights in safetensors only.

    Args:
        name: A name on the model hub, or a folder in diffusers' format.
        revision: The commit of a name on the hub; None for a folder.
        device: Where the pipeline runs: in fp16 on a GPU, in fp32 on a CPU.

    Returns:
        The pipeline.

    Raises:
        UserError: The pipeline is unavailable.
    """
    # Takes seconds to import, because all pipelines of diffusers come with it.
    from diffusers import AutoPipelineForText2Image

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
            f"generator {name}: {str(error).splitlines()[0]}; set generator.name to a folder in"
            " diffusers' format, or to a name on the model hub"
        ) from None


def load_caption_prior(folder: Path, device: torch.device) -> CaptionPrior:
    """Load the caption prior that the stage `generator` trained.

    Args:
        folder: Where the stage saved it.
        device: Where it runs.

    Returns:
        The prior.

    Raises:
        UserError: The stage has not been run.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no trained generator; run `dsacap generator` with the same configuration"
            " first"
        )
    return CaptionPrior.from_pretrained(
        folder, use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True
    ).to(device)


def original_features(store: FeatureStore, image_ids: Sequence[int], grid: int | None) -> Tensor:
    """Return the features of original images that generated ones are compared with.

    Args:
        store: Features of the originals.
        image_ids: The images.
        grid: As in `Generator`.

    Returns:
        Mean standardised tokens (images, grid * grid, channels); or, if `grid` is None, pooled unit
        vectors (images, 1, width).
    """
    return (
        store.read_pooled(image_ids)[:, None]
        if grid is None
        else coarse(store.read(image_ids), grid)
    )


def originals(store: FeatureStore, image_ids: Sequence[int], grid: int | None) -> Tensor:
    """Return the unit vectors (images, width) that those of `Generator.embed` are compared with."""
    return embedding(original_features(store, image_ids, grid))


def coarse(tokens_BNC: Tensor, grid: int) -> Tensor:
    """Average tokens over the cells of a grid.

    Args:
        tokens_BNC: Tokens (batch, tokens, channels). Class tokens, which come first, are left out.
        grid: Cells per side; fewer if there are fewer tokens per side.

    Returns:
        Means (batch, grid * grid, channels).
    """
    side = math.isqrt(tokens_BNC.shape[1])
    map_BCHW = tokens_BNC[:, -side * side :].mT.unflatten(-1, (side, side))
    return F.adaptive_avg_pool2d(map_BCHW, min(grid, side)).flatten(2).mT


def embedding(coarse_BNC: Tensor) -> Tensor:
    """Turn features into unit vectors whose dot product is the mean of two cosines.

    The first cosine is that of all cells concatenated, the second that of the mean over cells,
    which measures what is in an image wherever it is. On scenes, both together distinguish right
    captions from wrong ones better than the first alone.

    Args:
        coarse_BNC: Features (batch, cells, channels).

    Returns:
        Unit vectors (batch, width).
    """
    return torch.cat(
        [F.normalize(coarse_BNC.flatten(1), dim=-1), F.normalize(coarse_BNC.mean(1), dim=-1)],
        dim=-1,
    ) / math.sqrt(2)


def auc(right: Tensor, wrong: Tensor) -> float:
    """Return how often the right caption scores above the wrong one, where ties count half.

    This is the area under the paired ROC curve.
    """
    return ((right > wrong).double() + 0.5 * (right == wrong)).mean().item()
