"""The diffusion of the image latent: variance-preserving, cosine (Nichol & Dhariwal 2021, without their offset), continuous in time.

z_t = alpha_t z_0 + sigma_t eps,   alpha_t = cos(pi t / 2),   sigma_t = sin(pi t / 2),   0 <= t <= 1
"""

import math

import torch
from torch import Tensor


def alpha_sigma(t_B: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t of times [B], shaped [B, 1, 1] to scale latents [B, N, C]."""
    angle = t_B[:, None, None] * (math.pi / 2)
    return torch.cos(angle), torch.sin(angle)


def add_noise(z0_BNC: Tensor, noise_BNC: Tensor, t_B: Tensor) -> Tensor:
    """z_t of the forward process."""
    alpha, sigma = alpha_sigma(t_B)
    return alpha * z0_BNC + sigma * noise_BNC


def ddim_step(z_BNC: Tensor, z0_hat_BNC: Tensor, t_B: Tensor, s_B: Tensor) -> Tensor:
    """From time t to the earlier s, deterministically, given the prediction of z_0 (Song et al. 2021, eq. 12 with eta = 0):
    the noise that explains z_t under that prediction is kept."""
    alpha_t, sigma_t = alpha_sigma(t_B)
    noise_hat = (z_BNC - alpha_t * z0_hat_BNC) / sigma_t
    return add_noise(z0_hat_BNC, noise_hat, s_B)
