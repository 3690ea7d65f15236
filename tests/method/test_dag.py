import itertools

import pytest
import torch

from dsacap.captioner import PAD, UNK
from dsacap.method.likelihood import after, log_likelihood, passage
from helpers import LONGEST, VERTICES, VOCABULARY


def brute_force(words_GV, transitions_GG, caption) -> float:
    """Adds up all paths one by one."""
    paths = []
    for path in itertools.combinations(range(1, VERTICES - 1), len(caption)):
        stops = (0, *path, VERTICES - 1)
        total = sum(transitions_GG[u, v] for u, v in itertools.pairwise(stops))
        paths.append(total + sum(words_GV[v, w] for v, w in zip(path, caption, strict=True)))
    return torch.logsumexp(torch.stack(paths), 0).item()


def test_likelihood_equals_the_sum_over_all_paths(graph):
    words, transitions = graph
    captions = [[4], [5, 4], [8, 8, 6], [4, 5, 6, 7, 8], [UNK, 4]]
    padded = torch.tensor([c + [PAD] * (LONGEST - len(c)) for c in captions]).expand(2, -1, -1)
    ours = log_likelihood(words, transitions, padded)
    for b in range(2):
        for r, caption in enumerate(captions):
            assert ours[b, r].item() == pytest.approx(brute_force(words[b], transitions[b], caption), abs=1e-6)


def test_likelihoods_of_all_captions_sum_to_one(graph):
    words, transitions = graph
    usable = range(UNK, VOCABULARY)
    total = 0.0
    for n in range(1, 4):
        every = torch.tensor(list(itertools.product(usable, repeat=n)))
        total += log_likelihood(words[:1], transitions[:1], every[None]).exp().sum().item()
    empty = transitions[0, 0, -1].exp().item()
    assert 0.3 < total + empty < 1 + 1e-6  # the rest are captions of four and five words
    by_length = [path_mass(transitions[0].exp(), n) for n in range(VERTICES - 1)]
    assert sum(by_length) == pytest.approx(1, abs=1e-6)
    assert total + empty == pytest.approx(sum(by_length[:4]), abs=1e-6)


def path_mass(step_GG, words: int) -> float:
    at = torch.zeros(VERTICES, dtype=step_GG.dtype)
    at[0] = 1
    step = step_GG.clone()
    step[-1] = 0  # the end is left by nobody
    for _ in range(words + 1):
        at = at @ step
    return at[-1].item()


def test_what_follows_a_beginning_is_as_likely_as_the_whole_makes_it(graph):
    """log p(rest | beginning) = log p(beginning + rest) - log p(beginning): one constant for all rests."""
    words, transitions = graph
    beginning, rests = [5, 7], [[4], [6, 4], [8, 8, 6], [5]]
    follows = after(words, transitions, torch.tensor([beginning, beginning]))

    def likelihoods(captions, transitions_BGG):
        return log_likelihood(words, transitions_BGG, torch.tensor([c + [PAD] * (LONGEST - len(c)) for c in captions]).expand(2, -1, -1))

    difference_BR = likelihoods([beginning + rest for rest in rests], transitions) - likelihoods(rests, follows)
    torch.testing.assert_close(difference_BR, difference_BR[:, :1].expand(-1, len(rests)))
    torch.testing.assert_close(follows[:, 0].logsumexp(-1), torch.zeros(2, dtype=follows.dtype))


def test_a_vertex_is_passed_as_often_as_paths_lead_through_it(graph):
    transitions = graph[1]
    paths = [path for n in range(VERTICES - 1) for path in itertools.combinations(range(1, VERTICES - 1), n)]
    for step, passed in zip(transitions, passage(transitions), strict=True):
        expected = torch.zeros_like(passed)
        for path in paths:
            expected[list(path)] += sum(step[u, v] for u, v in itertools.pairwise((0, *path, VERTICES - 1))).exp()
        torch.testing.assert_close(passed, expected)


def test_transitions_go_forward_only(graph):
    step = graph[1].exp()
    assert torch.tril(step[:, :-1]).abs().max() == 0
    torch.testing.assert_close(step[:, :-1].sum(-1), torch.ones(2, VERTICES - 1, dtype=step.dtype), atol=1e-6, rtol=0)


def test_a_caption_longer_than_the_graph_is_impossible_with_finite_gradient(graph):
    words, transitions = (x.clone().requires_grad_() for x in graph)
    long = torch.full((2, 1, VERTICES), 4)
    value = log_likelihood(words, transitions, long)
    assert (value < -100).all()
    value.sum().backward()
    assert torch.isfinite(words.grad).all() and torch.isfinite(transitions.grad).all()
