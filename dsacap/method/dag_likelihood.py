"""Sums over the paths of a directed acyclic graph: how likely a caption is, by all paths that say it (Huang et al. 2022, section 3.2), and
how likely a vertex is passed."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from dsacap.text.vocabulary import PAD


def exact(sums: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Sums over paths under autocast as without: their products of exponentials would keep three digits."""

    @wraps(sums)
    def in_fp32(*arguments, **how) -> Tensor:
        with torch.autocast(arguments[0].device.type, enabled=False):
            return sums(
                *(
                    x.float() if getattr(x, "dtype", None) is torch.bfloat16 else x
                    for x in arguments
                ),
                **how,
            )

    return in_fp32


@exact
def log_likelihood(words_BGV: Tensor, transitions_BGG: Tensor, captions_BRL: Tensor) -> Tensor:
    """Log-likelihood [B, R] of captions (word ids, PAD from their end on, without EOS), summed over all paths.

    The forward algorithm in log space. A step's sum over the earlier vertices is a matrix product of exponentials, shifted by the
    largest term so that it cannot overflow. Captions of more than G - 2 words have no path: about -1e4 a missing vertex.
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
        ends.append(_log_matmul(forward_BRG, step_BGG[:, :, -1:])[..., 0])
    return torch.stack(ends, dim=-1).gather(-1, length_BR[..., None] - 1)[..., 0]


@exact
def after(words_BGV: Tensor, transitions_BGG: Tensor, prefix_BP: Tensor) -> Tensor:
    """The transitions [B, G, G] of the graph of what follows a caption's first words: its start goes where paths go that have said them.

    Exact, as how a path goes on depends on the vertex it stands at alone: p(next | prefix) = sum_v p(v | prefix) p(next | v).
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
    """The probability [B, G] that a path passes, and so speaks at, each vertex; 0 for the first and the last, which say nothing.

    a_v = sum_u a_u p(v | u) with a_0 = 1: a triangular system, as transitions go forward only, with ones on its diagonal.
    """
    start_G1 = transitions_BGG.new_zeros(transitions_BGG.shape[-1], 1)
    start_G1[0] = 1
    lower_BGG = -transitions_BGG.exp().mT.contiguous()  # of another layout, the last digits differ
    passed_BG = torch.linalg.solve_triangular(lower_BGG, start_G1, upper=False, unitriangular=True)[
        ..., 0
    ]
    speaks_G = torch.ones_like(start_G1[:, 0])
    speaks_G[[0, -1]] = 0
    return passed_BG * speaks_G


def _log_matmul(log_x: Tensor, y: Tensor) -> Tensor:
    """log(exp(log_x) @ y)."""
    shift = log_x.detach().amax(-1, keepdim=True)
    return ((log_x - shift).exp() @ y).clamp_min(1e-30).log() + shift
