import itertools
from collections import Counter

import pytest
import torch

from dsacap.method.dag_expected_ngrams import expected_overlap
from dsacap.text.vocabulary import EOS, PAD
from helpers import VERTICES


def brute_force(words_GV, transitions_GG, caption: list[int], orders: int) -> float:
    """Sum over all paths: probability, n-grams and how likely each is one of the caption's."""
    expected, total = Counter(), Counter()
    for length in range(VERTICES - 1):
        for path in itertools.combinations(range(1, VERTICES - 1), length):
            p = (
                sum(transitions_GG[u, v] for u, v in itertools.pairwise((0, *path, VERTICES - 1)))
                .exp()
                .item()
            )
            for n in range(1, orders + 1):
                for place in range(length - n + 1):
                    total[n] += p
                    for ngram in {tuple(caption[i : i + n]) for i in range(len(caption) - n + 1)}:
                        emitted = (
                            sum(
                                words_GV[v, w]
                                for v, w in zip(path[place : place + n], ngram, strict=True)
                            )
                            .exp()
                            .item()
                        )
                        expected[ngram] += p * emitted
    overlap = 0.0
    for n in range(1, orders + 1):
        counts = Counter(tuple(caption[i : i + n]) for i in range(len(caption) - n + 1))
        matched = sum(min(expected[ngram], count) for ngram, count in counts.items())
        overlap += 2 * matched / max(total[n] + counts.total(), 1e-6)
    return overlap / orders


@pytest.mark.parametrize("orders", [1, 2, 4])
def test_it_is_the_sum_over_all_paths(graph, orders):
    words, transitions = graph
    captions = [[5], [8, 8, 8], [4, 5, 4, 5], [4, 5, 6, 7, 8]]
    padded = torch.tensor([[*c, EOS, *[PAD] * (5 - len(c))] for c in captions]).expand(2, -1, -1)
    ours = expected_overlap(words, transitions, padded, orders)
    for b, r in itertools.product(range(2), range(len(captions))):
        assert ours[b, r].item() == pytest.approx(
            brute_force(words[b], transitions[b], captions[r], orders), abs=1e-6
        )


def test_a_graph_that_says_just_the_caption_overlaps_wholly():
    caption = [5, 4, 5, 6]
    words, transitions = torch.full((1, 6, 9), -1e4), torch.full((1, 6, 6), -1e4)
    for vertex, word in enumerate(caption, 1):
        words[0, vertex, word] = 0
    for vertex in range(5):
        transitions[0, vertex, vertex + 1] = 0
    overlap = expected_overlap(
        words, transitions, torch.tensor([[[*caption, EOS], [7, 7, 7, 7, EOS]]]), 4
    )
    assert overlap[0].tolist() == pytest.approx([1, 0], abs=1e-5)
    # A repeated word is matched once if the reference has it once: of 4 and 3 words, 2 match.
    overlap = expected_overlap(
        words,
        transitions,
        torch.tensor([[[5, 6, 8, EOS, PAD], [5, 5, 5, 4, EOS], [5, EOS, PAD, PAD, PAD]]]),
        1,
    )
    assert overlap[0].tolist() == pytest.approx([2 * 2 / 7, 2 * 3 / 8, 2 * 1 / 5], abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_is_one_of_words_and_of_transitions(graph, temperature):
    words, transitions = graph
    captions = torch.tensor([[[4, 5, EOS, PAD], [8, 6, 8, EOS]]] * 2)
    softened = ((words / temperature).log_softmax(-1), (transitions / temperature).log_softmax(-1))
    torch.testing.assert_close(
        expected_overlap(words, transitions, captions, 2, temperature),
        expected_overlap(*softened, captions, 2),
    )
    assert not torch.allclose(
        expected_overlap(words, transitions, captions, 2, temperature),
        expected_overlap(words, transitions, captions, 2),
    )


def test_sharpened_it_nears_what_the_likeliest_path_says(graph):
    words, transitions = graph[0], graph[1].clone()
    transitions[:, :-2, -1] = -1e4  # otherwise the likeliest path emits nothing
    vertex, emitted = 0, []
    while (vertex := transitions[0, vertex].argmax().item()) != VERTICES - 1:
        emitted.append(words[0, vertex].argmax().item())
    caption = torch.tensor([[[*emitted, EOS]]]).expand(2, -1, -1)
    assert expected_overlap(words, transitions, caption, 1, temperature=0.01)[
        0
    ].item() == pytest.approx(1, abs=1e-3)
    assert expected_overlap(words, transitions, caption, 1)[0].item() < 0.9


def test_its_gradient_is_that_of_finite_differences(graph):
    words, transitions = (x.clone().requires_grad_() for x in graph)
    captions = torch.tensor([[[4, 5, EOS, PAD], [8, 6, 8, EOS]]] * 2)

    def overlap(words, transitions):
        return expected_overlap(words.log_softmax(-1), transitions, captions, 2)

    assert torch.autograd.gradcheck(overlap, (words, transitions), atol=1e-4)
