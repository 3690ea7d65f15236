"""The training loop of the small models that the pipeline itself needs: generator, autoencoder."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dsacap.common.progress import progress
from dsacap.common.schedule import warmup_times_cosine
from dsacap.config.encoder import AutoencoderTraining
from dsacap.config.sections import GeneratorTraining
from dsacap.training.checkpoint import restore, save

_CHECKPOINT_SECONDS = 30


def fit(
    model: nn.Module,
    settings: GeneratorTraining | AutoencoderTraining,
    loss_of: Callable[[np.random.Generator], Tensor],
    folder: Path,
    *,
    name: str,
    warmup: int,
    fused: bool,
) -> dict:
    """Train a model in place.

    The run can be killed at any moment. When called again with a model of the same seed, it resumes
    from the last checkpoint.

    Args:
        model: The model.
        settings: Seed, steps and learning rate.
        loss_of: Returns the loss of a batch that is drawn by the step's generator.
        folder: The folder of checkpoints.
        name: What is trained, for the progress bar.
        warmup: Steps of the warm-up.
        fused: Whether to use torch's fused AdamW, whose arithmetic is the same on every processor
            (`dsacap/common/arithmetic.py`).

    Returns:
        Facts for the manifest: steps, parameters and CPU seconds.
    """
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=fused,
    )
    at = restore(folder, model, optimizer)
    saved, started = time.monotonic(), time.process_time() - at.cpu_seconds
    steps = range(at.step, settings.steps)
    for step in progress(steps, f"train the {name}", "step", settings.steps, at.step):
        for group in optimizer.param_groups:
            group["lr"] = warmup_times_cosine(settings.learning_rate, step, settings.steps, warmup)
        loss = loss_of(np.random.default_rng([settings.seed, step]))
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
