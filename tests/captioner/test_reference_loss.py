import pytest
import torch

from dsacap.captioner.reference_loss import reference_loss, soft_maximum
from dsacap.text.vocabulary import EOS, PAD, UNK


def test_soft_maximum_lies_between_mean_and_maximum():
    x = torch.tensor([[-1.0, -2.0, -4.0]])
    assert soft_maximum(x, 0).item() == pytest.approx(x.mean().item())
    assert soft_maximum(x, 1e-4).item() == pytest.approx(x.mean().item(), abs=1e-3)
    assert soft_maximum(x, 500).item() == pytest.approx(-1, abs=0.01)


def test_each_reference_counts_by_its_likelihood_a_word_and_end():
    captions = torch.tensor([[[5, EOS, PAD, PAD], [5, UNK, 6, EOS]]])
    log_prob = torch.tensor([[-4.0, -12.0]])
    assert reference_loss(log_prob, captions, 0).item() == pytest.approx((2 + 3) / 2)
    assert reference_loss(log_prob, captions, 1e3).item() == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("beta", [0, 8])
def test_one_reference_is_its_own_mean(beta):
    assert reference_loss(
        torch.tensor([[-4.0]]), torch.tensor([[[5, EOS]]]), beta
    ).item() == pytest.approx(2)
