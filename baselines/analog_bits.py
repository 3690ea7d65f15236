"""Analog bits (Chen, Zhang & Hinton 2022, arXiv 2208.04202): word ids as real numbers, and the continuous-time noise put on them.

Shared by the systems that diffuse them.
"""

import torch
from torch import Tensor, nn

from dsacap.text.vocabulary import UNK

_OFFSET, _STRETCH = (
    0.0002,
    0.00025,
)  # of the cosine: g(0) is not quite 1, nor g(1) quite 0 (the paper's appendix)


class AnalogBits(nn.Module):
    """A word id of `count` bits is as many numbers of -1 and 1, the lowest bit first."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.vocabulary, self.count = vocabulary, (vocabulary - 1).bit_length()
        self.register_buffer("place_value", 2 ** torch.arange(self.count), persistent=False)

    def of(self, words: Tensor) -> Tensor:
        """Bits [..., b] of word ids [...]."""
        return ((words[..., None] // self.place_value) % 2).float() * 2 - 1

    def words(self, bits: Tensor) -> Tensor:
        """Word ids [...] by a threshold at 0; a code that no word has is UNK, which is never written."""
        words = ((bits > 0) * self.place_value).sum(-1)
        return words.masked_fill(words >= self.vocabulary, UNK)


def gamma(t: Tensor) -> Tensor:
    """g(t) = cos^2 of a quarter turn."""
    return torch.cos((t + _OFFSET) / (1 + _STRETCH) * torch.pi / 2).square().clamp(1e-9, 1)


def noised(x0: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
    """x_t = sqrt(g(t)) x_0 + sqrt(1 - g(t)) noise, a time for each of B."""
    g_B11 = gamma(t_B)[:, None, None]
    return g_B11.sqrt() * x0 + (1 - g_B11).sqrt() * noise


def stepped(x: Tensor, x0: Tensor, now: float, to: float, fresh: Tensor | None) -> Tensor:
    """From time `now` to time `to`, given the estimate of x_0: the deterministic step of DDIM, or with `fresh` noise that of DDPM."""
    g_now, g_to = gamma(x.new_tensor(now)), gamma(x.new_tensor(to))
    noise = (x - g_now.sqrt() * x0) / (1 - g_now).sqrt()
    if fresh is None:
        return g_to.sqrt() * x0 + (1 - g_to).sqrt() * noise
    kept = g_now / g_to
    return (x - (1 - kept) / (1 - g_now).sqrt() * noise) / kept.sqrt() + (1 - kept).sqrt() * fresh
