"""Analog bits: word ids as real numbers, and the continuous-time noise put on them.

Chen, Zhang & Hinton 2022, arXiv 2208.04202. Shared by the captioners that diffuse bits.
"""

import numpy as np
import torch
from torch import Tensor, nn

from dsacap.text.vocabulary import UNK

# Of the cosine schedule (the paper's appendix): g(0) is slightly below 1, g(1) slightly above 0.
_OFFSET, _STRETCH = 0.0002, 0.00025
_CODES_SEED = 20220804  # of shuffled codes


class AnalogBits(nn.Module):
    """Converts word ids to analog bits and back (section 2.1).

    A code of `count` bits becomes `count` numbers of -1 or 1, the lowest bit first.

    Args:
        vocabulary: The number of words.
        shuffled: Whether codes are a random permutation of the ids, the same for every system
            (for images it is in the authors' code, `uint8_s`). Otherwise the code of a word is its
            id. Since ids are sorted by frequency, the average of what may stand somewhere then
            thresholds to an id near 0, which is padding or the end.
    """

    place_value: Tensor
    code_of: Tensor

    def __init__(self, vocabulary: int, shuffled: bool = False):
        super().__init__()
        self.vocabulary, self.count = vocabulary, (vocabulary - 1).bit_length()
        self.register_buffer("place_value", 2 ** torch.arange(self.count), persistent=False)
        codes = np.arange(2**self.count)
        if shuffled:
            codes = np.random.default_rng(_CODES_SEED).permutation(codes)
        # A shuffled code is stored with the weights, which mean nothing without it.
        self.register_buffer("code_of", torch.from_numpy(codes), persistent=shuffled)

    def encode(self, words: Tensor) -> Tensor:
        """Return the bits (..., count) of word ids (...)."""
        codes = self.code_of[words]
        return ((codes[..., None] // self.place_value) % 2).float() * 2 - 1

    def decode(self, bits: Tensor) -> Tensor:
        """Return the word ids (...) of bits (..., count), thresholded at 0.

        A code without a word becomes UNK, which is never written to a caption.
        """
        codes = ((bits > 0) * self.place_value).sum(-1)
        words = self.code_of.argsort()[codes]
        return words.masked_fill(words >= self.vocabulary, UNK)


def gamma(t: Tensor) -> Tensor:
    """Return the signal level g(t) in (0, 1]: the squared cosine of t, scaled to a quarter turn."""
    return torch.cos((t + _OFFSET) / (1 + _STRETCH) * torch.pi / 2).square().clamp(1e-9, 1)


def deviation(t: Tensor, scale: float) -> Tensor:
    """Return the standard deviation of the noised bits at times t, if x_0 is -scale or scale."""
    g = gamma(t)
    return (g * scale**2 + 1 - g).sqrt()


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
    g_now, g_to = (gamma(x.new_full((), time)) for time in (now, to))
    noise = (x - g_now.sqrt() * x0) / (1 - g_now).sqrt()
    if fresh is None:
        return g_to.sqrt() * x0 + (1 - g_to).sqrt() * noise
    kept = g_now / g_to
    return (x - (1 - kept) / (1 - g_now).sqrt() * noise) / kept.sqrt() + (1 - kept).sqrt() * fresh
