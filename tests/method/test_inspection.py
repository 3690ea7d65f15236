from itertools import combinations, pairwise

import pytest
import torch

from dsacap.captioner.random_numbers import noise_of
from dsacap.method.dsacap import DSACap
from dsacap.method.inspection import Graph, Vertex, best_path, distance, graph_of
from dsacap.method.noise import add_noise
from dsacap.text.vocabulary import UNK
from helpers import SPEC, VERTICES, ListMemory, random_batch


def test_best_path_is_that_of_brute_force(graph):
    for words_GV, transitions_GG in zip(*graph, strict=True):
        for caption in ([4], [5, 6], [7, 4, 8]):
            paths = [
                (0, *middle, VERTICES - 1)
                for middle in combinations(range(1, VERTICES - 1), len(caption))
            ]

            def log_p(path, caption=caption, words_GV=words_GV, transitions_GG=transitions_GG):
                steps = sum(transitions_GG[a, b] for a, b in pairwise(path))
                return float(
                    steps
                    + sum(words_GV[v, word] for v, word in zip(path[1:-1], caption, strict=True))
                )

            assert tuple(best_path(words_GV, transitions_GG, caption)) == max(paths, key=log_p)


def test_what_is_shown_of_a_graph_is_likely_or_on_the_path(graph):
    words_GV, transitions_GG = (of[0] for of in graph)
    found = graph_of(words_GV, transitions_GG, [4, 5, 6])
    index = [v.index for v in found.vertices]
    assert (
        index[0] == 0
        and index[-1] == VERTICES - 1
        and set(found.path) <= set(index) == set(sorted(index))
    )
    assert not found.vertices[0].words and not found.vertices[-1].words
    steps = {(a, b): p for a, b, p in found.transitions}
    assert set(pairwise(found.path)) <= set(steps)
    assert all(
        a < b and p == pytest.approx(transitions_GG[a, b].exp().item(), abs=1e-4)
        for (a, b), p in steps.items()
    )
    for vertex in found.vertices[1:-1]:
        (word, p), *rest = vertex.words
        assert word > UNK and p == pytest.approx(
            words_GV[vertex.index, UNK + 1 :].max().exp().item(), abs=1e-4
        )
        assert all(p >= other for _, other in rest)


@pytest.mark.parametrize(("caption", "path"), [([5, 4], [0, 1, 2, 5]), ([7], [0, 4, 5])])
def test_what_is_shown_of_a_graph_by_hand(caption, path):
    """Vertex 4 and the steps to it are too rare to show, unless the caption's path uses them."""
    step = torch.zeros(6, 6)
    step[0, 1:5] = torch.tensor([0.61, 0.35, 0.021, 0.019])
    step[1, 2:4] = torch.tensor([1 / 3, 2 / 3])
    step[2:5, 5] = 1
    word = torch.full((6, 9), 1e-6)
    word[:, UNK] = 0.4
    word[1, 4:] = torch.tensor([0.1, 1 / 3, 0.1 / 3, 1e-6, 0.2 / 3])
    word[2, 4:] = torch.tensor([0.5, 0.05, 0.03, 1e-6, 0.02])
    word[3, 4:] = torch.tensor([0.01, 0.02, 0.5, 1e-6, 0.07])
    word[4, 4:] = torch.tensor([0.02, 0.01, 0.1, 0.45, 0.03])
    found = graph_of(word.log(), step.log().clamp_min(-1e4), caption)
    vertices = [
        Vertex(0, 1, []),
        Vertex(1, 0.61, [(5, 0.3333), (4, 0.1), (8, 0.0667)]),
        Vertex(2, 0.5533, [(4, 0.5), (5, 0.05), (6, 0.03)]),
        Vertex(3, 0.4277, [(6, 0.5), (8, 0.07), (5, 0.02)]),
        Vertex(4, 0.019, [(7, 0.45), (6, 0.1), (8, 0.03)]),
        Vertex(5, 1, []),
    ]
    steps = [
        (0, 1, 0.61),
        (0, 2, 0.35),
        (0, 3, 0.021),
        (0, 4, 0.019),
        (1, 2, 0.3333),
        (1, 3, 0.6667),
        (2, 5, 1),
        (3, 5, 1),
        (4, 5, 1),
    ]
    shown = set(range(6)) if 4 in path else {0, 1, 2, 3, 5}
    assert found == Graph(
        [v for v in vertices if v.index in shown], [s for s in steps if {*s[:2]} <= shown], path
    )


def test_the_distance_is_a_mean_square_of_each_image_by_four_digits():
    assert distance(
        torch.tensor([[[3.0, 1], [1, 1], [1, 1]], [[0.0, 1], [1, 2], [1, 1]]]), torch.ones(2, 3, 2)
    ) == [0.6667, 0.3333]


@pytest.mark.parametrize(
    "options",
    [
        {"noise_level": 0.4, "steps": 3},
        {"noise_level": 0, "search": "viterbi", "bigram_weight": 0.5},
        {"noise_level": 0.2, "search": "draw", "temperature": 1.0},
    ],
)
def test_the_graph_is_the_one_that_the_caption_was_read_from(options):
    torch.manual_seed(3)
    captioner, batch = (
        DSACap(DSACap.Model(width=16, heads=2, vertices=12), SPEC).eval(),
        random_batch(4),
    )
    captioner.learn_from(ListMemory([[5, 6, 7, 2]]))
    decoding = DSACap.Decoding(**options)
    insides = captioner.inspect(batch, 7, decoding, steps=5)
    z0_BNC = batch.features
    z_BNC = add_noise(z0_BNC, noise_of(batch, 1, 7, z0_BNC.shape[1:])[:, 0], torch.full((4,), 0.5))
    for i, (inside, captions) in enumerate(
        zip(insides, captioner.caption(batch, 3, 7, decoding), strict=True)
    ):
        assert inside.caption == captions[0] and len(inside.graph.path) == len(captions[0]) + 2
        assert [frame.t for frame in inside.frames] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])
        assert inside.frames[0].noisy == pytest.approx(
            (z_BNC[i] - z0_BNC[i]).square().mean().item(), abs=1e-3
        )
        assert all(frame.error > 0 for frame in inside.frames)


def test_without_noise_in_training_there_is_nothing_to_denoise():
    captioner = DSACap(DSACap.Model(width=16, heads=2, vertices=12, t_max=0), SPEC).eval()
    inside = captioner.inspect(random_batch(1), 0, DSACap.Decoding(noise_level=0), steps=5)[0]
    assert [(frame.t, frame.noisy, frame.caption) for frame in inside.frames] == [
        (0, 0, inside.caption)
    ]


@pytest.mark.parametrize("readout", ["slots", "ctc", "cmlm"])
def test_other_readouts_have_frames_and_no_graph(readout):
    captioner = DSACap(DSACap.Model(width=16, heads=2, vertices=16, readout=readout), SPEC).eval()
    inside = captioner.inspect(random_batch(1), 0, DSACap.Decoding(), steps=2)[0]
    assert inside.graph is None and len(inside.frames) == 2 and inside.caption
