"""Training of the caption prior by the squared error of the clean embedding (unCLIP, section 2.2).

Three quarters of each batch are denoised from pure noise, because that is what the reward does, in
one step; with uniform timesteps this case would rarely be trained.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.config.sections import GeneratorTraining
from dsacap.training.small_model import fit
from dsacap.vision.generators.caption_prior import CaptionPrior

_WARMUP = 100


def train_caption_prior(
    prior: CaptionPrior,
    settings: GeneratorTraining,
    embeddings_IE: Tensor,
    captions: Sequence[Sequence[str]],
    folder: Path,
    *,
    fused: bool = False,
) -> dict:
    """Train a caption prior in place.

    The run can be killed at any moment. When called again with a prior of the same seed, it resumes
    from the last checkpoint.

    Args:
        prior: The prior.
        settings: Steps, batch size, learning rate and seed.
        embeddings_IE: The embeddings of the images, of shape `(images, channels)`.
        captions: For each image, its tokenised captions.
        folder: The folder of checkpoints.
        fused: Whether to use torch's fused AdamW, whose arithmetic is the same on every processor
            (`dsacap/common/arithmetic.py`).

    Returns:
        Facts for the manifest: steps, parameters and CPU seconds.
    """
    model = nn.ModuleDict({"text": prior.text_encoder, "prior": prior.prior})

    def loss_of(rng: np.random.Generator) -> Tensor:
        chosen = rng.integers(len(captions), size=settings.batch_size)
        x0_BE = embeddings_IE[chosen].to(prior.device)
        ids_BL, mask_BL = prior.tokenize(
            [captions[i][int(rng.integers(len(captions[i])))] for i in map(int, chosen)]
        )
        time_B = torch.from_numpy(rng.integers(prior.last_time + 1, size=len(chosen))).to(
            prior.device
        )
        time_B[: 3 * len(chosen) // 4] = prior.last_time
        noise_BE = torch.from_numpy(rng.standard_normal(x0_BE.shape, np.float32)).to(x0_BE)
        # diffusers annotates IntTensor, and takes timesteps of any integer type.
        noisy_BE = prior.scheduler.add_noise(x0_BE, noise_BE, time_B)  # type: ignore[arg-type]
        return F.mse_loss(prior.denoise(noisy_BE, time_B, ids_BL, mask_BL), x0_BE)

    return fit(model, settings, loss_of, folder, name="generator", warmup=_WARMUP, fused=fused)
