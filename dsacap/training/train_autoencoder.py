"""Training of the autoencoder of photos: squared error of pixels, and divergence of the latent."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from dsacap.config.encoder import AutoencoderTraining
from dsacap.training.small_model import fit

_WARMUP = 50
_EVALUATED = 100  # photos at a time


def train_autoencoder(
    autoencoder: AutoencoderKL,
    settings: AutoencoderTraining,
    pixels: Tensor,
    folder: Path,
    *,
    fused: bool = False,
) -> dict:
    """Train an autoencoder in place, on the CPU.

    The run can be killed at any moment. When called again with an autoencoder of the same seed, it
    resumes from the last checkpoint.

    Args:
        autoencoder: The autoencoder.
        settings: Steps, batch size, learning rate, seed and the weight of the divergence.
        pixels: Photos as uint8 (photos, 3, size, size).
        folder: The folder of checkpoints.
        fused: Whether to use torch's fused AdamW, whose arithmetic is the same on every processor
            (`dsacap/common/arithmetic.py`).

    Returns:
        Facts for the manifest: steps, parameters and CPU seconds.
    """

    def loss_of(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(pixels), size=settings.batch_size))
        return _loss(autoencoder, _scaled(pixels[chosen]), rng, settings.kl)

    return fit(
        autoencoder, settings, loss_of, folder, name="autoencoder", warmup=_WARMUP, fused=fused
    )


def _scaled(bytes_B3HW: Tensor) -> Tensor:
    """Return pixels from -1 to 1, as the encoder's preprocessing does."""
    return bytes_B3HW / 127.5 - 1


def _loss(
    autoencoder: AutoencoderKL, pixels_B3HW: Tensor, rng: np.random.Generator, kl: float
) -> Tensor:
    """Return the squared error of a sampled reconstruction plus `kl` times the divergence."""
    mean_BCHW, log_variance_BCHW = autoencoder.encoder(pixels_B3HW).chunk(2, dim=1)
    log_variance_BCHW = log_variance_BCHW.clamp(-30, 20)
    noise_BCHW = torch.from_numpy(rng.standard_normal(mean_BCHW.shape, np.float32))
    latent_BCHW = mean_BCHW + (log_variance_BCHW / 2).exp() * noise_BCHW
    divergence = (mean_BCHW.square() + log_variance_BCHW.exp() - 1 - log_variance_BCHW).mean() / 2
    return F.mse_loss(autoencoder.decoder(latent_BCHW), pixels_B3HW) + kl * divergence


@torch.inference_mode()
def reconstruction_error(autoencoder: AutoencoderKL, pixels: Tensor) -> dict[str, float]:
    """Measure how well photos are reconstructed from the means of their latents.

    Args:
        autoencoder: The autoencoder.
        pixels: Photos as uint8 (photos, 3, size, size).

    Returns:
        `rmse`, the root of the mean squared error of pixels from 0 to 1; and to compare with it
        `spread`, the error of the mean photo.
    """
    mean = pixels.float().mean(0) / 255
    squared = of_mean = 0.0
    for part in pixels.split(_EVALUATED):
        latent_BCHW, _ = autoencoder.encoder(_scaled(part)).chunk(2, dim=1)
        decoded = autoencoder.decoder(latent_BCHW)
        squared += ((decoded - _scaled(part)) / 2).double().square().sum().item()
        of_mean += (part / 255 - mean).double().square().sum().item()
    return {
        "rmse": round(math.sqrt(squared / pixels.numel()), 4),
        "spread": round(math.sqrt(of_mean / pixels.numel()), 4),
    }
