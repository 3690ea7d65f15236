import itertools

import pytest
import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.method.dsacap import DSACap
from dsacap.method.slots import Slots
from dsacap.text.vocabulary import EOS, PAD, UNK

SPEC = ImageSpec(tokens=3, channels=16, vocabulary=7, max_words=3)


@pytest.fixture
def slots():
    torch.manual_seed(0)
    readout = Slots(DSACap.Model(width=16, heads=2, readout_layers=1), SPEC)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return readout.double()


def every_caption() -> torch.Tensor:
    texts = [
        text
        for n in range(SPEC.max_words + 1)
        for text in itertools.product(range(UNK, SPEC.vocabulary), repeat=n)
    ]
    return torch.tensor([[*text, EOS, *[PAD] * (SPEC.max_words - len(text))] for text in texts])


def test_a_caption_is_as_likely_as_its_words_and_its_end(slots):
    image = torch.randn(2, 3, 16).double()
    captions = torch.tensor([[5, 4, EOS, PAD], [UNK, EOS, PAD, PAD], [6, 6, 4, EOS]])
    log_p, ours = slots(image), slots.log_prob(image, captions.expand(2, -1, -1))
    for b, (r, caption) in itertools.product(range(2), enumerate(captions.tolist())):
        expected = sum(log_p[b, at, word] for at, word in enumerate(caption) if word != PAD)
        assert ours[b, r].item() == pytest.approx(expected.item())


def test_likelihoods_of_all_captions_sum_to_one(slots):
    captions = every_caption().expand(2, -1, -1)
    total = slots.log_prob(torch.randn(2, 3, 16).double(), captions).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones(2, dtype=total.dtype))


def test_a_slot_is_expected_to_speak_where_no_slot_before_it_has_ended(slots):
    image, captions = torch.randn(1, 3, 16).double(), every_caption()
    p, expected = (
        slots.log_prob(image, captions[None])[0].exp(),
        torch.zeros(SPEC.max_words + 1, SPEC.vocabulary).double(),
    )
    for caption, share in zip(captions.tolist(), p, strict=True):
        for at, word in enumerate(caption):
            expected[at, word] += share if word != PAD else 0
    torch.testing.assert_close(slots.expected_words(image)[0], expected)


def test_columns_of_padding_change_nothing(slots):
    image, captions = (
        torch.randn(2, 3, 16).double(),
        torch.tensor([[[5, 4, EOS, PAD]], [[4, EOS, PAD, PAD]]]),
    )
    torch.testing.assert_close(
        slots.log_prob(image, captions), slots.log_prob(image, captions[..., :3])
    )


def test_each_slot_says_its_likeliest_word_up_to_the_end_and_none_is_empty(slots):
    with torch.no_grad():
        slots.words.bias[UNK] = 30
        image = torch.randn(20, 3, 16).double()
        log_p = slots(image)
        captions = slots.decode(image, DSACap.Decoding(), None)
    ended = [len(caption) < SPEC.max_words for caption in captions]
    assert any(ended) and not all(ended)
    for row, caption in zip(log_p, captions, strict=True):
        allowed = [[4, 5, 6], *[[EOS, 4, 5, 6]] * 2]
        likeliest = [
            max(words, key=lambda word, at=at: row[at, word].item())
            for at, words in enumerate(allowed)
        ]
        assert caption == likeliest[: likeliest.index(EOS)] if EOS in likeliest else likeliest
