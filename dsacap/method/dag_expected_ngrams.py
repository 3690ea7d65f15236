"""The expected number of n-grams of the references in captions from the graph, in closed form.

The gradient is exact too. The n-grams of a path are those of its vertices, so an expected count is
a sum over vertices v_1 < ... < v_n of

    p(v_1) P(w_1 | v_1) prod_k E(v_k-1, v_k) P(w_k | v_k),    p = e_0 (I - E)^-1,

where p(v) is the probability that a path passes v (fuzzy alignment: Ma et al., ICLR 2023,
arXiv 2303.06662).
"""

import torch
from torch import Tensor

from dsacap.method.dag_likelihood import exact, passage
from dsacap.text.vocabulary import EOS


@exact
def expected_overlap(
    words_BGV: Tensor,
    transitions_BGG: Tensor,
    captions_BRL: Tensor,
    orders: int,
    temperature: float = 1.0,
) -> Tensor:
    """Return the Dice overlap of the graph's n-grams with each reference's.

    It is the mean over n = 1 to `orders` of

        2 sum_g min(E count(g), count_r(g)) / (E total + total_r)

    which rewards precision and recall alike, and so the right length.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions.
        captions_BRL: References, terminated by EOS and padded with PAD.
        orders: Number of words of the longest n-grams.
        temperature: Below 1, it sharpens words and transitions. Counts are expectations, so without
            it a graph that hedges has a high overlap although none of its paths does.

    Returns:
        Overlaps of shape `(batch, references)`.
    """
    if temperature != 1:
        words_BGV, transitions_BGG = (log_p / temperature for log_p in (words_BGV, transitions_BGG))
        words_BGV, transitions_BGG = words_BGV.log_softmax(-1), transitions_BGG.log_softmax(-1)
    step_BGG = transitions_BGG.exp().triu(1)
    emits_G = torch.ones(step_BGG.shape[-1], device=step_BGG.device)
    emits_G[0] = emits_G[-1] = 0  # the start and the end
    passage_BG = passage(transitions_BGG)
    rows = torch.arange(len(captions_BRL), device=captions_BRL.device)[:, None, None]
    emit_BRLG = words_BGV.mT[rows, captions_BRL].exp() * emits_G

    length_BR = (captions_BRL > EOS).sum(-1)
    same_BRLL = torch.ones(
        *captions_BRL.shape, captions_BRL.shape[-1], dtype=torch.bool, device=captions_BRL.device
    )
    total_BG, count_BRLG = passage_BG, passage_BG[:, None, None] * emit_BRLG
    overlap_BR = total_BG.new_zeros(length_BR.shape)
    for n in range(1, orders + 1):
        if n > 1:
            total_BG = (total_BG[:, None] @ step_BGG)[:, 0] * emits_G
            count_BRLG = (count_BRLG[:, :, :-1].flatten(1, 2) @ step_BGG).unflatten(
                1, (length_BR.shape[1], -1)
            ) * emit_BRLG[:, :, n - 1 :]
        starts = captions_BRL.shape[-1] - n + 1
        word_BRL = captions_BRL[..., n - 1 :]
        same_BRLL = same_BRLL[..., :starts, :starts] & (
            word_BRL[..., :, None] == word_BRL[..., None, :]
        )
        real_BRL = torch.arange(starts, device=length_BR.device) <= (length_BR - n)[..., None]
        equal_BRLL = same_BRLL & real_BRL[..., None, :]
        # A repeated n-gram is matched once, at its first occurrence.
        first_BRL = real_BRL & ~equal_BRLL.tril(-1).any(-1)
        matched_BR = (torch.minimum(count_BRLG.sum(-1), equal_BRLL.sum(-1)) * first_BRL).sum(-1)
        overlap_BR = overlap_BR + 2 * matched_BR / (
            total_BG.sum(-1)[:, None] + real_BRL.sum(-1)
        ).clamp_min(1e-6)
    return overlap_BR / orders
