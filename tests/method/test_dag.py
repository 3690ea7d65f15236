import itertools

import pytest
import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.method.dag import DirectedAcyclic
from dsacap.method.dag_likelihood import after, log_likelihood, passage
from dsacap.method.dag_policy import GraphPolicy
from dsacap.method.dsacap import DSACap
from dsacap.text.vocabulary import EOS, PAD, UNK
from helpers import LONGEST, VERTICES, VOCABULARY, ListMemory


def brute_force(words_GV, transitions_GG, caption) -> float:
    """Return the log-likelihood of a caption by enumerating all paths."""
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
            assert ours[b, r].item() == pytest.approx(
                brute_force(words[b], transitions[b], caption), abs=1e-6
            )


def test_captions_that_are_drawn_with_a_cut_have_probabilities_that_sum_to_one(graph):
    """A caption of the longest length is drawn whether or not its path would have ended there."""
    words, transitions = (part[:1] for part in graph)
    policy, total = GraphPolicy(words, transitions, max_words=2), transitions[0, 0, -1].exp().item()
    for n in (1, 2):
        every = torch.tensor(list(itertools.product(range(UNK, VOCABULARY), repeat=n)))
        closed = torch.nn.functional.pad(every, (0, 1), value=EOS)
        total += policy.log_prob(closed[None]).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-6)


def test_a_very_unlikely_caption_is_as_precise_as_likely_ones(graph):
    words, transitions = graph
    words[..., 8] -= 300
    captions = [[8, 8, 8], [4, 5, 6], [4, 8, 8]]
    ours = log_likelihood(words, transitions, torch.tensor([captions, captions]))
    for b, r in itertools.product(range(2), range(3)):
        assert ours[b, r].item() == pytest.approx(
            brute_force(words[b], transitions[b], captions[r]), abs=1e-6
        )


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
    step[-1] = 0  # no path leaves the end
    for _ in range(words + 1):
        at = at @ step
    return at[-1].item()


def test_a_continuation_has_the_conditional_probability(graph):
    """log p(rest | beginning) = log p(beginning + rest) - log p(beginning), which is constant."""
    words, transitions = graph
    beginning, rests = [5, 7], [[4], [6, 4], [8, 8, 6], [5]]
    follows = after(words, transitions, torch.tensor([beginning, beginning]))

    def likelihoods(captions, transitions_BGG):
        return log_likelihood(
            words,
            transitions_BGG,
            torch.tensor([c + [PAD] * (LONGEST - len(c)) for c in captions]).expand(2, -1, -1),
        )

    difference_BR = likelihoods([beginning + rest for rest in rests], transitions) - likelihoods(
        rests, follows
    )
    torch.testing.assert_close(difference_BR, difference_BR[:, :1].expand(-1, len(rests)))
    torch.testing.assert_close(follows[:, 0].logsumexp(-1), torch.zeros(2, dtype=follows.dtype))


def test_a_vertex_is_passed_as_often_as_paths_lead_through_it(graph):
    transitions = graph[1]
    paths = [
        path
        for n in range(VERTICES - 1)
        for path in itertools.combinations(range(1, VERTICES - 1), n)
    ]
    for step, passed in zip(transitions, passage(transitions), strict=True):
        expected = torch.zeros_like(passed)
        for path in paths:
            expected[list(path)] += sum(
                step[u, v] for u, v in itertools.pairwise((0, *path, VERTICES - 1))
            ).exp()
        torch.testing.assert_close(passed, expected)


def test_transitions_go_forward_only(graph):
    step = graph[1].exp()
    assert torch.tril(step[:, :-1]).abs().max() == 0
    torch.testing.assert_close(
        step[:, :-1].sum(-1), torch.ones(2, VERTICES - 1, dtype=step.dtype), atol=1e-6, rtol=0
    )


def test_a_caption_longer_than_the_graph_is_impossible_with_finite_gradient(graph):
    words, transitions = (x.clone().requires_grad_() for x in graph)
    long = torch.full((2, 1, VERTICES), 4)
    value = log_likelihood(words, transitions, long)
    assert (value < -100).all()
    value.sum().backward()
    assert torch.isfinite(words.grad).all() and torch.isfinite(transitions.grad).all()


def test_completed_captions_are_drawn_as_often_as_they_are_likely(readout, graph):
    """Count all that may follow three words, of five at most, in 20,000 draws.

    Unknown words and an empty rest are never drawn.
    """
    words, transitions = (x[:1] for x in graph)
    words[..., UNK] = -1e4
    words = words.log_softmax(-1)
    begin, draws = [5, 7, 5], 20_000
    rests = [
        rest for n in (1, 2) for rest in itertools.product(range(UNK + 1, VOCABULARY), repeat=n)
    ]
    whole = torch.tensor([[*begin, *rest, *[PAD] * (2 - len(rest))] for rest in rests])
    expected = log_likelihood(words, transitions, whole[None])[0].softmax(-1)
    readout.forward = lambda image: (words.expand(draws, -1, -1), transitions.expand(draws, -1, -1))
    generator, shapes = torch.Generator().manual_seed(1), []

    def uniform(shape):
        shapes.append(shape)
        return torch.rand(draws, *shape, generator=generator, dtype=words.dtype)

    decoding = DSACap.Decoding(search="draw", temperature=1.0)
    captions = readout.complete(
        torch.zeros(draws, 3, 16), decoding, uniform, torch.tensor([begin]).expand(draws, -1)
    )
    assert shapes == [(2, 2)]  # a vertex and a word, for the two words that may follow
    counts = torch.tensor([captions.count([*begin, *rest]) for rest in rests])
    assert counts.sum() == draws
    assert ((counts / draws - expected).abs() < 4 * (expected / draws).sqrt() + 1e-3).all()
    longer = readout.complete(
        torch.zeros(draws, 3, 16), decoding, uniform, torch.tensor([[5]]).expand(draws, -1)
    )
    assert shapes[1:] == [(4, 2)] and {len(caption) for caption in longer} >= {2, 3, 4}


def test_a_completion_continues_the_last_word_of_the_prefix(readout):
    """In the train captions 6 always follows 4, and 7 follows 8.

    Under a bigram model that outweighs nearly everything else, they do so here too.
    """
    readout.learn_from(
        ListMemory([[4, 6, 5, 8, 7, EOS], [5, 4, 6, EOS, PAD, PAD], [7, 5, 8, 7, EOS, PAD]])
    )
    decoding = DSACap.Decoding(search="viterbi", candidates=50, bigram_weight=50.0)
    with torch.no_grad():
        captions = readout.complete(
            torch.randn(2, 3, 16), decoding, None, torch.tensor([[5, 8, 4], [4, 5, 8]])
        )
    assert [caption[:4] for caption in captions] == [[5, 8, 4, 6], [4, 5, 8, 7]]
    assert max(map(len, captions)) <= LONGEST


def test_a_bigram_weight_needs_the_train_captions(readout):
    with pytest.raises(
        ValueError, match=r"^a bigram_weight needs the train captions: call learn_from first"
    ):
        readout.decode(
            torch.randn(1, 3, 16), DSACap.Decoding(search="viterbi", bigram_weight=0.5), None
        )


def test_expected_words_are_those_of_all_paths(readout, graph):
    """Compare sums over vertices: the expected number of times that a caption has each word."""
    words, transitions = (x[:1] for x in graph)
    picture = torch.zeros(1, 3, 16)
    readout.forward = {picture: (words, transitions)}.__getitem__
    expected = torch.zeros(VOCABULARY, dtype=words.dtype)
    for n in range(1, VERTICES - 1):
        for path in itertools.combinations(range(1, VERTICES - 1), n):
            taken = sum(
                transitions[0, u, v] for u, v in itertools.pairwise((0, *path, VERTICES - 1))
            ).exp()
            expected += taken * words[0, list(path)].exp().sum(0)
    torch.testing.assert_close(readout.expected_words(picture).sum(1)[0], expected)


def test_what_is_compiled_is_the_graph(readout):
    forward, compiled = readout.forward, []
    readout.speed_up(lambda function: compiled.append(function) or "compiled")
    assert compiled == [forward] and readout.forward == "compiled"


def test_a_graph_at_initialisation():
    torch.manual_seed(0)
    model = DSACap.Model(width=16, heads=2, vertices=40)
    readout = DirectedAcyclic(
        model, ImageSpec(tokens=3, channels=16, vocabulary=VOCABULARY, max_words=LONGEST)
    )
    assert readout.place.shape == (40, 16) and len(readout.place.unique(dim=0)) == 40
    assert readout.place.std().item() == pytest.approx(0.02, rel=0.1)
    # A transition that leads a twelfth of the graph further is half as likely, so that a path emits
    # some twelve words.
    assert (readout.distance * 40 / 12).exp().tolist() == pytest.approx(
        [0.5] * len(readout.distance), abs=0.01
    )
    # What follows from the size is not a weight, so it is in no checkpoint.
    assert not readout.state_dict().keys() & {"later", "gap"}


def test_transitions_of_one_head_are_attention_to_later_vertices_that_falls_with_distance():
    torch.manual_seed(0)
    model = DSACap.Model(width=16, heads=2, vertices=VERTICES, transition_heads=1)
    readout = DirectedAcyclic(
        model, ImageSpec(tokens=3, channels=16, vocabulary=VOCABULARY, max_words=LONGEST)
    )
    with torch.no_grad():
        states = readout.states(torch.randn(2, 3, 16))
        query, key = readout.from_to(
            torch.cat([states, readout.place.expand_as(states)], dim=-1)
        ).chunk(2, dim=-1)
        gap = torch.arange(VERTICES)[None] - torch.arange(VERTICES)[:, None]
        bias = torch.where(gap > 0, readout.distance * gap, -torch.inf)[:-1]
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[:, :-1], key, torch.eye(VERTICES).expand(2, -1, -1), bias
        )
        torch.testing.assert_close(readout._transitions(states)[:, :-1].exp(), expected)
