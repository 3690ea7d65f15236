"""Glancing: words of a reference that training shows to the graph."""

import itertools

import pytest
import torch

from dsacap.captioner.batch_parts import WHOLE
from dsacap.captioner.interface import ImageSpec
from dsacap.method.dag import DirectedAcyclic
from dsacap.method.dag_glancing import best_path, emitting, shown_words
from dsacap.method.dag_likelihood import log_likelihood
from dsacap.method.dsacap import DSACap
from dsacap.text.vocabulary import EOS, PAD
from helpers import LONGEST, VERTICES, VOCABULARY

CAPTIONS = [[4], [5, 4], [8, 8, 6], [4, 5, 6, 7, 8]]


def padded(captions: list[list[int]]) -> torch.Tensor:
    return torch.tensor([c + [PAD] * (LONGEST - len(c)) for c in captions])


def score(words_GV, transitions_GG, caption, path) -> float:
    stops = (0, *path, VERTICES - 1)
    total = sum(transitions_GG[u, v].item() for u, v in itertools.pairwise(stops))
    return total + sum(words_GV[v, w].item() for v, w in zip(path, caption, strict=True))


@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_best_path_is_the_best_of_all_paths(graph, caption):
    words, transitions = graph
    found = best_path(words, transitions, padded([caption, caption]))
    for b in range(2):
        best = max(
            itertools.combinations(range(1, VERTICES - 1), len(caption)),
            key=lambda path: score(words[b], transitions[b], caption, path),
        )
        assert tuple(found[b, : len(caption)].tolist()) == best


def test_words_are_shown_at_the_path_of_the_likeliest_reference(graph):
    words, transitions = graph
    references = padded(CAPTIONS).expand(2, -1, -1)
    log_p = log_likelihood(words, transitions, references)
    lengths = torch.tensor([len(caption) + 1 for caption in CAPTIONS])
    likeliest = (log_p / lengths).argmax(-1)
    torch.manual_seed(0)
    shown = shown_words(words, transitions, references, 1.0, WHOLE)
    for b in range(2):
        caption = CAPTIONS[likeliest[b]]
        path = best_path(words[b : b + 1], transitions[b : b + 1], padded([caption]))[0]
        at = dict(zip(path.tolist(), caption, strict=False))
        wrong = sum(words[b, v].argmax() != word for v, word in at.items())
        there = {v: word for v, word in enumerate(shown[b].tolist()) if word != PAD}
        assert len(there) == wrong
        assert there.items() <= at.items()


def test_fewer_words_are_shown_where_fewer_are_wrong_and_none_where_none_is(graph):
    words, transitions = graph
    references = padded([[4, 5, 6, 7, 8]]).expand(2, 1, -1)
    path = best_path(words, transitions, references[:, 0])
    for share in (1.0, 0.4, 0.0):
        shown = shown_words(words, transitions, references, share, WHOLE)
        wrong = (words.argmax(-1).gather(1, path) != references[:, 0]).sum(-1)
        assert (shown != PAD).sum(-1).tolist() == [round(share * n) for n in wrong.tolist()]
    known = emitting(words, torch.zeros(2, VERTICES, dtype=torch.long).scatter(
        1, path, references[:, 0]))  # fmt: skip
    assert (shown_words(known, transitions, references, 1.0, WHOLE) == PAD).all()


def test_a_vertex_emits_with_certainty_what_it_is_shown(graph):
    words, _ = graph
    shown = torch.zeros(2, VERTICES, dtype=torch.long)
    shown[0, 2] = 5
    certain = emitting(words, shown).exp()
    assert certain[0, 2].argmax() == 5 and certain[0, 2].sum() == pytest.approx(1)
    assert certain[0, 2, 5] == 1
    shown[0, 2] = PAD
    assert torch.equal(emitting(words, shown), words)


def glancing(share: float) -> DirectedAcyclic:
    torch.manual_seed(0)
    model = DSACap.Model(width=16, heads=2, readout_layers=1, vertices=VERTICES, glance=share)
    return DirectedAcyclic(
        model, ImageSpec(tokens=3, channels=16, vocabulary=VOCABULARY, max_words=LONGEST)
    )


def test_only_training_shows_words_and_they_make_references_likelier():
    image = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1))
    captions = torch.tensor([[[4, 5, 6, 7, 8, EOS]]] * 2)
    without, some, every = (glancing(share) for share in (0.0, 0.5, 1.0))
    plain = without.train().log_prob(image, captions)
    assert torch.equal(every.eval().log_prob(image, captions), plain)
    best = [
        readout.train().log_prob(image, captions).amax(-1) for readout in (without, some, every)
    ]
    assert (best[0] < best[1]).all() and (best[1] < best[2]).all()
    every.log_prob(image, captions).sum().backward()
    assert all(parameter.grad is not None for parameter in every.parameters())


@pytest.mark.parametrize("options", [{"glance": 1.5}, {"glance": 0.5, "readout": "slots"}])
def test_other_shares_and_readouts_are_refused(options):
    with pytest.raises(ValueError, match="glance"):
        DSACap.Model(**options)
