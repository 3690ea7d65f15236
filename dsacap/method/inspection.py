"""What can be seen of DSACap's inside, as plain data: the image as it is denoised, and the graph that a caption is read from."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dsacap.method.dag_likelihood import passage
from dsacap.text.vocabulary import UNK

_WORDS = 3  # of a vertex that are named
_SEEN = 0.02  # vertices that a path passes, and transitions that it takes, less often than this are left out


@dataclass(frozen=True)
class Frame:
    """One step: at time `t`, the mean squared distance a channel of the latent to the clean one, `noisy` as it came in and `error` as the
    denoiser predicted it; and the caption (word ids) that is read then."""

    t: float
    noisy: float
    error: float
    caption: list[int]


@dataclass(frozen=True)
class Vertex:
    """`passed`: how likely a path is to pass it. `words`: the likeliest ones (id, probability), none of start and end."""

    index: int
    passed: float
    words: list[tuple[int, float]]


@dataclass(frozen=True)
class Graph:
    """`transitions`: (from, to, probability). `path`: the vertices, from start to end, of the likeliest path that says the caption."""

    vertices: list[Vertex]
    transitions: list[tuple[int, int, float]]
    path: list[int]


@dataclass(frozen=True)
class Inside:
    """`caption` (word ids) is what the decoding itself says, by `graph`, where the readout has one; the frames are those of a longer walk
    from as much noise as the system was trained with."""

    frames: list[Frame]
    caption: list[int]
    graph: Graph | None


def best_path(words_GV: Tensor, transitions_GG: Tensor, caption: list[int]) -> list[int]:
    """The likeliest path, from vertex 0 to the last one, that says `caption` (log-probabilities in; Viterbi)."""
    end = len(transitions_GG) - 1
    best_G, came_from = transitions_GG[0] + words_GV[:, caption[0]], []
    for word in caption[1:]:
        best_G, before_G = (best_G[:, None] + transitions_GG).max(0)
        best_G = best_G + words_GV[:, word]
        came_from.append(before_G.tolist())
    path = [int((best_G + transitions_GG[:, end]).argmax())]
    for before in reversed(came_from):
        path.append(before[path[-1]])
    return [0, *reversed(path), end]


def graph_of(words_GV: Tensor, transitions_GG: Tensor, caption: list[int]) -> Graph:
    """What is worth seeing of the graph of one image, from its log-probabilities."""
    end, path = len(transitions_GG) - 1, best_path(words_GV, transitions_GG, caption)
    passed_G = passage(transitions_GG[None])[0]
    passed_G[[0, end]] = 1
    step_GG = transitions_GG.exp().triu(1)
    shown = {v for v, passed in enumerate(passed_G.tolist()) if passed >= _SEEN} | set(path)
    taken = (passed_G[:, None] * step_GG >= _SEEN).nonzero().tolist() + [
        list(pair) for pair in pairwise(path)
    ]
    likely_GW, word_GW = words_GV[:, UNK + 1 :].exp().topk(_WORDS)
    vertices = []
    for v in sorted(shown):
        named = (
            zip((word_GW[v] + UNK + 1).tolist(), likely_GW[v].tolist(), strict=True)
            if v not in (0, end)
            else ()
        )
        vertices.append(
            Vertex(v, round(passed_G[v].item(), 4), [(word, round(p, 4)) for word, p in named])
        )
    pairs = sorted({(a, b) for a, b in taken if a in shown and b in shown})
    return Graph(vertices, [(a, b, round(step_GG[a, b].item(), 4)) for a, b in pairs], path)


def distance(x_BNC: Tensor, z0_BNC: Tensor) -> list[float]:
    """Mean squared distance [B] a channel."""
    return [round(d, 4) for d in torch.square(x_BNC - z0_BNC).mean((1, 2)).tolist()]
