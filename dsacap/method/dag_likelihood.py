"""Sums over the paths of a directed acyclic graph.

They give the likelihood of a caption, over all paths that emit it (Huang et al. 2022, section 3.2),
and the probability that a path passes a vertex.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from dsacap.text.vocabulary import PAD


def exact(sums: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a function compute in full precision under autocast too.

    In bfloat16, the products of exponentials in sums over paths would keep only three digits.
    """

    @wraps(sums)
    def in_fp32(*arguments, **options) -> Tensor:
        with torch.autocast(arguments[0].device.type, enabled=False):
            return sums(
                *(
                    x.float() if getattr(x, "dtype", None) is torch.bfloat16 else x
                    for x in arguments
                ),
                **options,
            )

    return in_fp32


@exact
def log_likelihood(
    words_BGV: Tensor, transitions_BGG: Tensor, captions_BRL: Tensor, cut_at: int | None = None
) -> Tensor:
    """Return the log-likelihood of captions, summed over all paths.

    It uses the forward algorithm in log space. The sum over earlier vertices is a matrix product of
    exponentials, shifted by the largest term so that it cannot overflow. A caption of more than
    G - 2 words has no path; its log-likelihood is about -1e4 for each missing vertex.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions, from row to column.
        captions_BRL: Word ids, without EOS and padded with PAD.
        cut_at: If given, a caption of so many words is the beginning of a longer one or ends there,
            as captions are drawn.

    Returns:
        Log-likelihoods of shape `(batch, references)`.
    """
    length_BR = (captions_BRL != PAD).sum(-1)
    rows = torch.arange(len(captions_BRL), device=captions_BRL.device)[:, None, None]
    emit_BRLG = words_BGV.mT[rows, captions_BRL]
    step_BGG = transitions_BGG.exp()
    forward_BRG = transitions_BGG[:, None, 0] + emit_BRLG[:, :, 0]
    ends = []
    for at in range(captions_BRL.shape[-1]):
        if at > 0:
            forward_BRG = _log_matmul(forward_BRG, step_BGG) + emit_BRLG[:, :, at]
        if at + 1 == cut_at:  # whatever follows; the last vertex emits no word
            ends.append(forward_BRG[..., :-1].logsumexp(-1))
        else:
            ends.append(_log_matmul(forward_BRG, step_BGG[:, :, -1:])[..., 0])
    return torch.stack(ends, dim=-1).gather(-1, length_BR[..., None] - 1)[..., 0]


@exact
def after(words_BGV: Tensor, transitions_BGG: Tensor, prefix_BP: Tensor) -> Tensor:
    """Return the transitions of the graph of what follows the first words of a caption.

    Its start has the transitions of the paths that have emitted these words. This is exact, because
    the rest of a path depends only on its current vertex:
    p(next | prefix) = sum_v p(v | prefix) p(next | v).

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions.
        prefix_BP: The first words.

    Returns:
        Log-probabilities of shape `(B, G, G)`.
    """
    rows = torch.arange(len(prefix_BP), device=prefix_BP.device)[:, None]
    emit_BPG = words_BGV.mT[rows, prefix_BP]
    step_BGG = transitions_BGG.exp()
    forward_BG = transitions_BGG[:, 0]
    for emit_BG in emit_BPG.unbind(1):
        forward_BG = _log_matmul((forward_BG + emit_BG)[:, None], step_BGG)[:, 0]
    follows = transitions_BGG.clone()
    follows[:, 0] = forward_BG.log_softmax(-1)
    return follows


@exact
def passage(transitions_BGG: Tensor) -> Tensor:
    """Return the probability `(B, G)` that a path passes each vertex, and so emits a word there.

    It is 0 for the first and the last vertex, which emit nothing. The probabilities solve
    a_v = sum_u a_u p(v | u) with a_0 = 1. This system is triangular with a unit diagonal, because
    transitions only go forward.
    """
    start_G1 = transitions_BGG.new_zeros(transitions_BGG.shape[-1], 1)
    start_G1[0] = 1
    # With another memory layout the last digits would differ.
    lower_BGG = -transitions_BGG.exp().mT.contiguous()
    passage_BG = torch.linalg.solve_triangular(
        lower_BGG, start_G1, upper=False, unitriangular=True
    )[..., 0]
    emits_G = torch.ones_like(start_G1[:, 0])
    emits_G[0] = emits_G[-1] = 0
    return passage_BG * emits_G


def _log_matmul(log_x: Tensor, y: Tensor) -> Tensor:
    """Return log(exp(log_x) @ y)."""
    shift = log_x.detach().amax(-1, keepdim=True)
    return ((log_x - shift).exp() @ y).clamp_min(1e-30).log() + shift
