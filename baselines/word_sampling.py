"""Sampling of words by temperature, top-k and nucleus."""

import torch
from torch import Tensor


def draw_words(
    logits_BV: Tensor, uniform_B: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """Return one word per row, drawn by inverting the cumulative distribution.

    Args:
        logits_BV: Logits of the words, (rows, vocabulary).
        uniform_B: A uniform random number for each row, at which the distribution is inverted.
        temperature: Divides the logits.
        top_k: Draw from this many of the likeliest words (Fan et al. 2018); 0 means all.
        top_p: Draw from the nucleus of this probability among them (Holtzman et al. 2020).
    """
    p_BV, order_BV = (
        (logits_BV / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    )
    if top_k:
        p_BV[:, top_k:] = 0
        p_BV /= p_BV.sum(-1, keepdim=True)
    before_BV = p_BV.cumsum(-1) - p_BV
    p_BV = p_BV.masked_fill(before_BV >= top_p, 0)
    cumulative_BV = p_BV.cumsum(-1)
    rank_B1 = torch.searchsorted(
        cumulative_BV, uniform_B[:, None] * cumulative_BV[:, -1:], right=True
    )
    return order_BV.gather(-1, rank_B1.clamp(max=p_BV.shape[-1] - 1))[:, 0]
