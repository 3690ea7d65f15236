"""The inside of DSACap as plain data: the denoising of the image and the graph of a caption."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dsacap.method.dag_likelihood import passage
from dsacap.text.vocabulary import UNK

_WORDS = 3  # words per vertex
_MIN_PROBABILITY = 0.02  # vertices and transitions that paths use less often are left out


@dataclass(frozen=True)
class Frame:
    """One denoising step.

    Attributes:
        t: Time of the step.
        noisy: Mean squared distance per channel between the step's input and the clean latent.
        error: The same between the denoiser's prediction and the clean latent.
        caption: Word ids of the caption that is decoded at this step.
    """

    t: float
    noisy: float
    error: float
    caption: list[int]


@dataclass(frozen=True)
class Vertex:
    """A vertex of the graph.

    Attributes:
        index: Its number.
        passed: Probability that a path passes it.
        words: Its likeliest words as (id, probability); empty for the start and the end.
    """

    index: int
    passed: float
    words: list[tuple[int, float]]


@dataclass(frozen=True)
class Graph:
    """The relevant part of a graph.

    Attributes:
        vertices: The vertices, in order.
        transitions: The transitions as (from, to, probability).
        path: Vertices, from start to end, of the likeliest path that emits the caption.
    """

    vertices: list[Vertex]
    transitions: list[tuple[int, int, float]]
    path: list[int]


@dataclass(frozen=True)
class Inside:
    """What happens inside the system as it captions an image.

    Attributes:
        frames: Steps of a denoising that starts at the highest noise level of training.
        caption: Word ids of the caption that the decoding itself gives.
        graph: The graph from which this caption is read, if the readout has one.
    """

    frames: list[Frame]
    caption: list[int]
    graph: Graph | None


def best_path(words_GV: Tensor, transitions_GG: Tensor, caption: list[int]) -> list[int]:
    """Find the likeliest path that emits a caption, by the Viterbi algorithm.

    Args:
        words_GV: Log-probabilities of words at each vertex.
        transitions_GG: Log-probabilities of transitions.
        caption: Word ids without special ones.

    Returns:
        The vertices of the path, from vertex 0 to the last one.
    """
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
    """Return the relevant part of an image's graph; the arguments are those of `best_path`."""
    end, path = len(transitions_GG) - 1, best_path(words_GV, transitions_GG, caption)
    passed_G = passage(transitions_GG[None])[0]
    passed_G[[0, end]] = 1
    step_GG = transitions_GG.exp().triu(1)
    likely = {v for v, passed in enumerate(passed_G.tolist()) if passed >= _MIN_PROBABILITY}
    shown = likely | set(path)
    taken = (passed_G[:, None] * step_GG >= _MIN_PROBABILITY).nonzero().tolist() + [
        list(pair) for pair in pairwise(path)
    ]
    likely_GW, word_GW = words_GV[:, UNK + 1 :].exp().topk(_WORDS)
    vertices = []
    for v in sorted(shown):
        likeliest = (
            zip((word_GW[v] + UNK + 1).tolist(), likely_GW[v].tolist(), strict=True)
            if v not in (0, end)
            else ()
        )
        vertices.append(
            Vertex(v, round(passed_G[v].item(), 4), [(word, round(p, 4)) for word, p in likeliest])
        )
    pairs = sorted({(a, b) for a, b in taken if a in shown and b in shown})
    return Graph(vertices, [(a, b, round(step_GG[a, b].item(), 4)) for a, b in pairs], path)


def distance(x_BNC: Tensor, z0_BNC: Tensor) -> list[float]:
    """Return the mean squared distance per channel of each image, rounded to four digits."""
    return [round(d, 4) for d in torch.square(x_BNC - z0_BNC).mean((1, 2)).tolist()]
