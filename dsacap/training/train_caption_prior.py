"""Training of the caption prior by the squared error of the clean embedding (unCLIP, section 2.2).

Three quarters of each batch are denoised from pure noise, because that is what the reward does, in
one step; with uniform timesteps this case would rarely be trained.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.common.progress import progress
from dsacap.common.schedule import warmup_times_cosine
from dsacap.config.sections import GeneratorTraining
from dsacap.training.checkpoint import restore, save
from dsacap.vision.generators.caption_prior import CaptionPrior

_CHECKPOINT_SECONDS = 30
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
    model = nn.ModuleDict({"text": prior.text_encoder, "prior": prior.prior}).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=fused,
    )
    at = restore(folder, model, optimizer)
    saved, started = time.monotonic(), time.process_time() - at.cpu_seconds
    for step in progress(
        range(at.step, settings.steps),
        "train the generator",
        "step",
        total=settings.steps,
        initial=at.step,
    ):
        for group in optimizer.param_groups:
            group["lr"] = warmup_times_cosine(settings.learning_rate, step, settings.steps, _WARMUP)
        rng = np.random.default_rng([settings.seed, step])
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
        loss = F.mse_loss(prior.denoise(noisy_BE, time_B, ids_BL, mask_BL), x0_BE)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        at.step = step + 1
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            at.cpu_seconds = time.process_time() - started
            save(folder, model, optimizer, at)
            saved = time.monotonic()
    model.eval()
    return {
        "steps": settings.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_cpu_seconds": round(time.process_time() - started, 1),
    }
