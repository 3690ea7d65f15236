import itertools

import pytest
import torch

from dsacap.method.dag_search import bigram_model, lookahead, perturbed, viterbi
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK
from helpers import LONGEST, VERTICES, VOCABULARY


def clear_graphs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random graphs, clear-cut enough for captions of several words."""
    generator = torch.Generator().manual_seed(2)
    words = (torch.randn(count, VERTICES, VOCABULARY, generator=generator) * 3).log_softmax(-1)
    forward = torch.ones(VERTICES, VERTICES, dtype=torch.bool).triu(1)
    steps = torch.randn(count, VERTICES, VERTICES, generator=generator) * 2 - forward.cumsum(-1)
    return words, steps.masked_fill(~forward, -1e4).log_softmax(-1).masked_fill(~forward, -1e4)


def test_lookahead_takes_the_jointly_best_step():
    words, transitions = clear_graphs(40)
    captions = lookahead(words, transitions, max_words=LONGEST)
    for b, caption in enumerate(captions):
        vertex, expected = 0, []
        while True:
            best = {
                v: transitions[b, vertex, v]
                + (words[b, v, UNK + 1 :].max() if v < VERTICES - 1 else 0)
                for v in range(vertex + 1, VERTICES)
            }
            vertex = max(best, key=best.get)
            if vertex == VERTICES - 1:
                break
            expected.append(words[b, vertex, UNK + 1 :].argmax().item() + UNK + 1)
        assert caption == expected
        assert all(word not in (PAD, EOS, UNK) for word in caption)
    assert {len(caption) for caption in captions} >= {1, 2, 3, 4}
    assert lookahead(words, transitions, max_words=2) == [caption[:2] for caption in captions]


def best_caption(
    words_GV,
    transitions_GG,
    candidates: int,
    bigram_VV,
    weight: float,
    last: int | None = None,
    penalty: float = 1.0,
) -> list[int]:
    """Try every path with every choice of words."""
    likeliest = [(row[UNK + 1 :].topk(candidates).indices + UNK + 1).tolist() for row in words_GV]
    scored = {}
    for n in range(0 if last else 1, LONGEST + 1):
        for path in itertools.combinations(range(1, VERTICES - 1), n):
            stops = (0, *path, VERTICES - 1)
            moves = sum(transitions_GG[u, v] for u, v in itertools.pairwise(stops))
            for caption in itertools.product(*(likeliest[v] for v in path)):
                language = sum(
                    bigram_VV[a, b] for a, b in itertools.pairwise((last or BOS, *caption, EOS))
                )
                emitted = sum(words_GV[v, word] for v, word in zip(path, caption, strict=True))
                scored[path, caption] = (moves + emitted + weight * language) / (n + 1) ** penalty
    return list(max(scored, key=scored.get)[1])


@pytest.mark.parametrize(("candidates", "weight"), [(1, 0.0), (2, 0.0), (2, 0.5), (3, 2.0)])
def test_viterbi_finds_the_best_of_all_paths_and_words(graph, candidates, weight):
    words, transitions = graph
    torch.manual_seed(1)
    bigram = torch.randn(VOCABULARY, VOCABULARY, dtype=words.dtype).log_softmax(-1)
    found = viterbi(words, transitions, LONGEST, candidates, bigram, weight)
    assert found == [
        best_caption(words[b], transitions[b], candidates, bigram, weight) for b in range(2)
    ]


def test_viterbi_of_one_word_a_vertex_in_many_graphs():
    words, transitions = clear_graphs(30)
    none = torch.zeros(VOCABULARY, VOCABULARY)
    found = viterbi(words, transitions, LONGEST, 1)
    assert found == [
        best_caption(*graph, 1, none, 0.0) for graph in zip(words, transitions, strict=True)
    ]
    assert len({len(caption) for caption in found}) > 2
    assert (
        viterbi(words, transitions, LONGEST, 1, torch.randn_like(none)) == found
    )  # a bigram model without a weight


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 1.5, 3.0])
def test_a_path_is_divided_by_a_power_of_its_length(penalty):
    words, transitions = clear_graphs(10)
    none = torch.zeros(VOCABULARY, VOCABULARY)
    found = viterbi(words, transitions, LONGEST, 1, length_penalty=penalty)
    assert found == [
        best_caption(*graph, 1, none, 0.0, penalty=penalty)
        for graph in zip(words, transitions, strict=True)
    ]
    uniform = torch.full((10, VERTICES * (1 + VERTICES)), 0.5)
    of_no_size = uniform, 1e-6
    assert perturbed(words, transitions, LONGEST, 1, *of_no_size, length_penalty=penalty) == found


def test_a_higher_penalty_makes_longer_captions():
    def words_at(penalty: float) -> int:
        captions = viterbi(*clear_graphs(30), LONGEST, 1, length_penalty=penalty)
        return sum(len(caption) for caption in captions)

    counts = [words_at(penalty) for penalty in (0.0, 1.0, 3.0)]
    assert counts == sorted(counts) and len(set(counts)) == 3


def test_viterbi_continues_a_word_and_the_rest_may_be_empty(graph):
    words, transitions = graph
    torch.manual_seed(1)
    bigram = torch.randn(VOCABULARY, VOCABULARY, dtype=words.dtype).log_softmax(-1)
    for last in range(UNK + 1, VOCABULARY):
        found = viterbi(words, transitions, LONGEST, 2, bigram, 2.0, torch.tensor([last, last]))
        assert found == [
            best_caption(words[b], transitions[b], 2, bigram, 2.0, last) for b in range(2)
        ]
    transitions[:, 0, -1] = 5.0
    assert viterbi(words, transitions, LONGEST, 2, last_B=torch.tensor([4, 4])) == [[], []]


def test_viterbi_limits_candidates_and_length(graph):
    assert viterbi(*graph, LONGEST, 50) == viterbi(*graph, LONGEST, VOCABULARY - UNK - 1)
    assert all(len(caption) == 1 for caption in viterbi(*graph, 1, 2))


@pytest.mark.parametrize(("candidates", "weight"), [(1, 0.0), (2, 0.5)])
def test_perturbed_search_finds_the_best_of_all_captions_of_the_perturbed_graph(
    graph, candidates, weight
):
    words, transitions = (part[:1].double() for part in graph)
    generator = torch.Generator().manual_seed(3)
    bigram = torch.randn(VOCABULARY, VOCABULARY, generator=generator).double().log_softmax(-1)
    split, temperature = VERTICES * candidates, 0.7
    draws, found, expected = 100, [], []
    for uniform in torch.rand(draws, 1, split + VERTICES**2, generator=generator).double():
        found += perturbed(
            words, transitions, LONGEST, candidates, uniform, temperature, bigram, weight
        )
        gumbel = -temperature * (-uniform[0].log()).log()
        likeliest = words[0, :, UNK + 1 :].topk(candidates).indices + UNK + 1
        noisy = torch.full_like(words[0], -torch.inf).scatter(
            1, likeliest, words[0].gather(1, likeliest) + gumbel[:split].view(VERTICES, -1)
        )
        moves = transitions[0] + gumbel[split:].view(VERTICES, VERTICES)
        expected.append(best_caption(noisy, moves, candidates, bigram, weight))
    assert found == expected
    assert len(set(map(tuple, found))) > 3


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_perturbed_search_of_single_words_draws_each_with_its_probability(temperature):
    """The largest of log p + T Gumbel has probability proportional to p^(1/T)."""
    generator = torch.Generator().manual_seed(4)
    draws, candidates = 4000, 3
    words = torch.randn(1, 3, UNK + 1 + candidates, generator=generator)
    only_way = torch.full((1, 3, 3), -1e4)
    only_way[:, 0, 1] = only_way[:, 1, 2] = 0
    uniform = torch.rand(draws, 3 * candidates + 9, generator=generator)
    graphs = (part.expand(draws, -1, -1) for part in (words, only_way))
    captions = perturbed(*graphs, 1, candidates, uniform, temperature)
    counts = torch.bincount(torch.tensor(captions).flatten(), minlength=words.shape[-1])
    expected = (words[0, 1, UNK + 1 :] / temperature).softmax(-1)
    deviation = (expected * (1 - expected) / draws).sqrt()
    assert ((counts[UNK + 1 :] / draws - expected).abs() < 5 * deviation).all()


def test_perturbed_search_finds_a_caption_for_the_smallest_uniform_numbers(graph):
    assert all(perturbed(*graph, LONGEST, 2, torch.zeros(2, VERTICES * (2 + VERTICES)), 0.5))


def test_the_bigram_model_is_a_distribution_and_counts_the_captions():
    model = bigram_model(iter([[4, 5, EOS, PAD], [4, 6, 5, EOS], [4, 5, EOS, PAD]]), 8).exp()
    torch.testing.assert_close(model.sum(-1), torch.ones(8))
    # 4 occurs three times: 5 follows twice, 6 once. Each count loses 0.75, in all 1.5 of 3. These
    # are distributed over words by how many words they follow: 4 follows one, 5 two, 6 one and EOS
    # one, of five. Each of the eight words gets another eighth, together 1.
    follows = torch.tensor([0.0, 0, 1, 0, 1, 2, 1, 0]) + 1 / 8
    expected = torch.tensor([0.0, 0, 0, 0, 0, 1.25, 0.25, 0]) / 3 + 0.5 * follows / 6
    torch.testing.assert_close(model[4], expected)
    torch.testing.assert_close(model[7], follows / 6)  # 7 does not occur
