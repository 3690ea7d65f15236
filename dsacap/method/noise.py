"""Diffusion of the image latent: variance preserving, continuous in time, with a cosine schedule.

The schedule is that of Nichol & Dhariwal 2021 without their offset:

    z_t = alpha_t z_0 + sigma_t eps,   alpha_t = cos(pi t / 2),   sigma_t = sin(pi t / 2)

with 0 <= t <= 1.
"""

import math

import torch
from torch import Tensor


def shifted(t_B: Tensor, shift: float) -> Tensor:
    """Return the times at which the ratio of noise to signal is `shift` times that of given times.

    Larger latents, whose neighbouring values are alike, need more noise for the same loss of
    information (Hoogeboom et al. 2023, arXiv 2301.11093, eq. 4).

    Args:
        t_B: Times in [0, 1].
        shift: The factor, above 0.
    """
    angle = t_B * (math.pi / 2)
    return torch.atan2(shift * angle.sin(), angle.cos()) * (2 / math.pi)


def alpha_sigma(t_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha_t and sigma_t at given times.

    Args:
        t_B: Times in [0, 1], of shape `(batch,)` or, one for each token, `(batch, tokens)`.

    Returns:
        Both, of shape `(batch, 1 or tokens, 1)`, so that they scale latents of shape `(B, N, C)`.
    """
    angle = t_B.reshape(len(t_B), -1, 1) * (math.pi / 2)
    return torch.cos(angle), torch.sin(angle)


def add_noise(z0_BNC: Tensor, noise_BNC: Tensor, t_B: Tensor) -> Tensor:
    """Return z_t of the forward process: the latent with noise added.

    Args:
        z0_BNC: Clean latents.
        noise_BNC: Standard normal noise.
        t_B: Times in [0, 1].
    """
    alpha, sigma = alpha_sigma(t_B)
    return alpha * z0_BNC + sigma * noise_BNC


def ddim_step(z_BNC: Tensor, z0_hat_BNC: Tensor, t_B: Tensor, s_B: Tensor) -> Tensor:
    """Step from time t to an earlier time s, deterministically, given a prediction of z_0.

    This is eq. 12 of Song et al. 2021 (DDIM) with eta = 0: the noise that explains z_t under the
    prediction is kept.

    Args:
        z_BNC: Latents at time t.
        z0_hat_BNC: Predictions of z_0.
        t_B: The times t, above 0.
        s_B: The times s.

    Returns:
        The latents at time s.
    """
    alpha_t, sigma_t = alpha_sigma(t_B)
    noise_hat = (z_BNC - alpha_t * z0_hat_BNC) / sigma_t
    return add_noise(z0_hat_BNC, noise_hat, s_B)
