import itertools
from collections import Counter, defaultdict

import pytest
import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.method.ctc import CTC, CTCPolicy, _never_empty, collapsed
from dsacap.method.dsacap import DSACap
from dsacap.text.vocabulary import EOS, PAD, UNK

SPEC = ImageSpec(tokens=3, channels=16, vocabulary=6, max_words=4)
MODEL = DSACap.Model(width=16, heads=2, readout_layers=1, readout="ctc", vertices=4)


@pytest.fixture
def ctc():
    torch.manual_seed(0)
    readout = CTC(MODEL, SPEC)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return readout.double()


def by_caption(words_GV) -> dict[tuple[int, ...], torch.Tensor]:
    """Return the probability of every caption, by enumerating all emissions."""
    total = defaultdict(float)
    for emitted in itertools.product((PAD, *range(UNK, SPEC.vocabulary)), repeat=len(words_GV)):
        caption = tuple(word for word, _ in itertools.groupby(emitted) if word != PAD)
        total[caption] = (
            total[caption] + sum(words_GV[g, word] for g, word in enumerate(emitted)).exp()
        )
    return total


def padded(captions) -> torch.Tensor:
    return torch.tensor(
        [[*caption, EOS, *[PAD] * (SPEC.max_words - len(caption))] for caption in captions]
    )


def test_likelihood_and_its_gradient_equal_the_sum_over_all_emissions(ctc):
    image = torch.randn(2, 3, 16).double()
    expected = [by_caption(words) for words in ctc(image)]
    captions = list(expected[0])
    assert (4,) in captions and (4, 4) in captions and (4, 4, 4) not in captions
    ours = ctc.log_prob(image, padded(captions).expand(2, -1, -1))
    brute = torch.stack(
        [torch.stack([of_image[caption] for caption in captions]).log() for of_image in expected]
    )
    torch.testing.assert_close(ours, brute)
    torch.testing.assert_close(ours.exp().sum(-1), torch.ones(2, dtype=ours.dtype))
    weight = torch.randn_like(ours)
    gradients = [
        torch.autograd.grad((x * weight).sum(), ctc.words.weight, retain_graph=True)[0]
        for x in (ours, brute)
    ]
    torch.testing.assert_close(*gradients)


def test_a_reference_that_cannot_fit_is_impossible_and_has_no_gradient(ctc):
    image = torch.randn(1, 3, 16).double()
    value = ctc.log_prob(
        image, padded([[4, 4, 4], [5, 4, 4, 5]])[None]
    )  # five vertices would be needed
    assert (value < -1000).all() and value.isfinite().all()
    value.sum().backward()
    assert not ctc.words.weight.grad.any()


def test_the_best_path_is_collapsed_and_never_empty(ctc):
    with torch.no_grad():
        ctc.words.bias[UNK] = 30
        ctc.words.bias[PAD] += 2
        image = torch.randn(40, 3, 16).double()
        log_p, captions = ctc(image), ctc.decode(image, DSACap.Decoding(), None)
    log_p[..., UNK] = -torch.inf
    empty = 0
    for row, caption in zip(log_p, captions, strict=True):
        best = [word for word, _ in itertools.groupby(row.argmax(-1).tolist()) if word != PAD]
        empty += not best
        assert caption == (best or [row[:, UNK + 1 :].amax(0).argmax().item() + UNK + 1])
    assert 0 < empty < len(captions)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_captions_are_drawn_as_often_as_they_are_likely(ctc, temperature):
    """The expected shares exclude unknown words; an empty caption becomes the likeliest word."""
    draws, image = 20_000, torch.randn(1, 3, 16).double()
    with torch.no_grad():
        words = ctc(image) / temperature
        words[..., UNK] = -1e4
        words = words.log_softmax(-1)
        generator = torch.Generator().manual_seed(0)
        captions = ctc.decode(
            image.expand(draws, -1, -1),
            DSACap.Decoding(search="draw", temperature=temperature),
            lambda shape: torch.rand(draws, *shape, generator=generator, dtype=words.dtype),
        )
    expected = {
        caption: p.item() for caption, p in by_caption(words[0]).items() if UNK not in caption
    }
    likeliest = (words[0, :, UNK + 1 :].amax(0).argmax().item() + UNK + 1,)
    expected[likeliest] += expected.pop(())
    counts = Counter(map(tuple, captions))
    assert counts.keys() <= expected.keys()
    assert all(
        abs(counts[caption] / draws - p) < 4 * (p / draws) ** 0.5 + 1e-3
        for caption, p in expected.items()
    )


def test_only_an_empty_caption_gets_the_likeliest_word():
    words = torch.tensor([[0.6, 0, 0, 0, 0.4, 0], [0.3, 0, 0, 0, 0.3, 0.35]])
    assert _never_empty(torch.tensor([[[0, 5], [0, 0]]]), words.log()[None]).tolist() == [
        [[0, 5], [4, 0]]
    ]


def test_runs_count_once_and_blanks_separate_them():
    emitted = torch.tensor([[0, 4, 4, 0, 4, 5], [0, 0, 0, 0, 0, 5], [4, 5, 4, 5, 4, 5]])
    assert collapsed(emitted, 4).tolist() == [
        [4, 4, 5, EOS, PAD],
        [5, EOS, PAD, PAD, PAD],
        [4, 5, 4, 5, EOS],
    ]


def test_a_caption_drawn_is_cut_at_the_longest_allowed():
    words = torch.full((1, 6, 6), -1e4)
    words[0, torch.arange(6), torch.tensor([4, 5] * 3)] = 0
    assert CTCPolicy(words, 4).sample(2).tolist() == [[[4, 5, 4, 5, EOS]] * 2]


def test_too_few_vertices_are_refused():
    with pytest.raises(ValueError, match="vertices: 4 cannot hold captions of 5 words"):
        CTC(MODEL, ImageSpec(3, 16, 6, 5))
