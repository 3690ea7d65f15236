"""Analog bits: word ids as real numbers, and the continuous-time noise put on them.

Chen, Zhang & Hinton 2022, arXiv 2208.04202. Shared by the captioners that diffuse bits.
"""

import torch
from torch import Tensor, nn

from dsacap.text.vocabulary import UNK

# Of the cosine schedule (the paper's appendix): g(0) is slightly below 1, g(1) slightly above 0.
_OFFSET, _STRETCH = 0.0002, 0.00025


class AnalogBits(nn.Module):
    """Converts word ids to analog bits and back (section 2.1).

    A word id of `count` bits becomes `count` numbers of -1 or 1, the lowest bit first.
    """

    place_value: Tensor

    def __init__(self, vocabulary: int):
        super().__init__()
        self.vocabulary, self.count = vocabulary, (vocabulary - 1).bit_length()
        self.register_buffer("place_value", 2 ** torch.arange(self.count), persistent=False)

    def encode(self, words: Tensor) -> Tensor:
        """Return the bits (..., count) of word ids (...)."""
        return ((words[..., None] // self.place_value) % 2).float() * 2 - 1

    def decode(self, bits: Tensor) -> Tensor:
        """Return the word ids (...) of bits (..., count), thresholded at 0.

        A code without a word becomes UNK, which is never written to a caption.
        """
        words = ((bits > 0) * self.place_value).sum(-1)
        return words.masked_fill(words >= self.vocabulary, UNK)


def gamma(t: Tensor) -> Tensor:
    """Return the signal level g(t) in (0, 1]: the squared cosine of t, scaled to a quarter turn."""
    return torch.cos((t + _OFFSET) / (1 + _STRETCH) * torch.pi / 2).square().clamp(1e-9, 1)


def noised(x0: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
    """Return x_t = sqrt(g(t)) x_0 + sqrt(1 - g(t)) noise, with one time for each row of x_0."""
    g_B11 = gamma(t_B)[:, None, None]
    return g_B11.sqrt() * x0 + (1 - g_B11).sqrt() * noise


def stepped(x: Tensor, x0: Tensor, now: float, to: float, fresh: Tensor | None) -> Tensor:
    """Return the state at time `to` from that at time `now`.

    Args:
        x: The state at time `now`.
        x0: The estimate of x_0.
        now: The present time, in [0, 1].
        to: The next time, below `now`.
        fresh: Noise for the stochastic step of DDPM; None for the deterministic step of DDIM.
    """
    g_now, g_to = gamma(x.new_tensor(now)), gamma(x.new_tensor(to))
    noise = (x - g_now.sqrt() * x0) / (1 - g_now).sqrt()
    if fresh is None:
        return g_to.sqrt() * x0 + (1 - g_to).sqrt() * noise
    kept = g_now / g_to
    return (x - (1 - kept) / (1 - g_now).sqrt() * noise) / kept.sqrt() + (1 - kept).sqrt() * fresh
