import itertools

import pytest
import torch

from dsacap.captioner.batch_parts import WHOLE
from dsacap.captioner.interface import ImageSpec
from dsacap.method.cmlm import CMLM
from dsacap.method.dsacap import DSACap
from dsacap.text.vocabulary import EOS, PAD, UNK

SPEC = ImageSpec(tokens=3, channels=16, vocabulary=9, max_words=6)


@pytest.fixture
def cmlm():
    torch.manual_seed(0)
    readout = CMLM(DSACap.Model(width=16, heads=2, readout_layers=1, readout="cmlm"), SPEC).eval()
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return readout.double()


def log_probs_of(cmlm, image, words: list[int]) -> torch.Tensor:
    """Return the log-probabilities (L, V) of one masked caption, alone and without padding."""
    return cmlm.words(cmlm(torch.tensor([words]), cmlm._images(image[None])))[0].log_softmax(-1)


def test_the_likelihood_is_that_of_the_length_and_of_the_words_masked_scaled_to_all(
    cmlm, monkeypatch
):
    captions = torch.tensor(
        [
            [[4, 5, EOS, PAD, PAD], [5, 6, 7, 8, EOS]],
            [[UNK, 4, 4, EOS, PAD], [8, EOS, PAD, PAD, PAD]],
        ]
    )
    masked = torch.tensor(
        [[0, 1, 0, 0, 0], [1, 0, 1, 1, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    ).bool()
    monkeypatch.setattr(cmlm, "_random_masks", lambda real, part: masked)
    image = torch.randn(2, 3, 16).double()
    ours, length = cmlm.log_prob(image, captions), cmlm._length(image)
    for row, (b, r) in enumerate(itertools.product(range(2), range(2))):
        words = [word for word in captions[b, r].tolist() if word not in (EOS, PAD)]
        log_p = log_probs_of(
            cmlm,
            image[b],
            [cmlm.mask if m else word for word, m in zip(words, masked[row], strict=False)],
        )
        picked = [log_p[at, word] for at, word in enumerate(words) if masked[row, at]]
        assert ours[b, r].item() == pytest.approx(
            (length[b, len(words)] + len(words) * sum(picked) / len(picked)).item()
        )


def test_its_mean_over_masks_is_that_over_all_orders_of_writing(cmlm):
    image, words = torch.randn(1, 3, 16).double(), [4, 6, 5]
    expected = 0.0
    for order in itertools.permutations(range(3)):
        for done in range(3):
            visible = [word if at in order[:done] else cmlm.mask for at, word in enumerate(words)]
            expected += (
                log_probs_of(cmlm, image[0], visible)[order[done], words[order[done]]].item() / 6
            )
    torch.manual_seed(0)
    captions = torch.tensor([*words, EOS]).expand(1, 4000, -1)
    drawn = cmlm.log_prob(image, captions) - cmlm._length(image)[:, 3]
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * drawn.std().item() / 4000**0.5)


def test_one_to_all_words_are_masked_and_no_padding(cmlm):
    torch.manual_seed(0)
    real = torch.arange(6) < torch.tensor([1, 4, 6] * 3000)[:, None]
    masked = cmlm._random_masks(real, WHOLE)
    assert not (masked & ~real).any()
    for n, rows in ((1, masked[::3]), (4, masked[1::3]), (6, masked[2::3])):
        share = torch.bincount(rows.sum(-1), minlength=n + 1) / 3000
        torch.testing.assert_close(share[1:], torch.full((n,), 1 / n), atol=0.04, rtol=0)
        assert share[0] == 0


@torch.no_grad()
def test_each_pass_masks_the_least_sure_words_by_a_linear_schedule(cmlm):
    with torch.no_grad():
        cmlm.length_head.bias[-1] = 50
    for image in torch.randn(10, 3, 16).double():
        words, confidence, masked = [cmlm.mask] * 6, [0.0] * 6, range(6)
        for count in (4, 2, 0):  # 6 words, 3 passes
            log_p = log_probs_of(
                cmlm, image, [cmlm.mask if at in masked else word for at, word in enumerate(words)]
            )
            log_p = log_p[:, UNK + 1 :] - log_p[:, UNK + 1 :].logsumexp(-1, keepdim=True)
            for at in masked:
                confidence[at], words[at] = (
                    log_p[at].max().item(),
                    log_p[at].argmax().item() + UNK + 1,
                )
            masked = sorted(range(6), key=lambda at: confidence[at])[:count]
        assert cmlm.decode(image[None], DSACap.Decoding(passes=3), None) == [words]


@torch.no_grad()
def test_the_likeliest_length_is_written_and_never_none(cmlm):
    cmlm.length_head.bias[0] = 50
    image = torch.randn(20, 3, 16).double()
    captions = cmlm.decode(image, DSACap.Decoding(passes=2), None)
    assert [len(caption) for caption in captions] == (
        cmlm._length(image)[:, 1:].argmax(-1) + 1
    ).tolist()
    assert len({len(caption) for caption in captions}) > 1
