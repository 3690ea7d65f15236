import pytest
import torch

from dsacap.captioner.registry import load_captioner
from dsacap.common.errors import UserError
from dsacap.config.training import ExpectedNgrams, Tuning
from dsacap.training.ngram_objective import NgramObjective
from helpers import SPEC, random_batch


def objective(name: str = "dsacap", supervised: float = 0.0, **settings) -> NgramObjective:
    torch.manual_seed(0)
    model = {"width": 16, "heads": 2} | ({"vertices": 9} if name == "dsacap" else {})
    tuning = Tuning(steps=1, ngrams=ExpectedNgrams(**settings), supervised=supervised)
    return NgramObjective(load_captioner(name, model, SPEC).eval(), tuning)


@pytest.mark.parametrize("settings", [{}, {"orders": 1, "temperature": 0.5}, {"beta": 10}])
def test_the_overlap_rises(settings):
    tuned, batch = objective(**settings), random_batch(4)
    optimizer = torch.optim.Adam(tuned.captioner.parameters(), 0.02)
    overlaps = []
    for step in range(80):
        torch.manual_seed(step)
        losses = tuned(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        overlaps.append(losses["expected_overlap"].item())
    assert sum(overlaps[-5:]) / 5 > 1.5 * overlaps[0]


def test_the_supervised_loss_is_added():
    tuned, plain = objective(supervised=2.0), objective()
    torch.manual_seed(3)
    both = tuned(random_batch(4))
    torch.manual_seed(3)
    # The policy draws the same random numbers in both; the supervised loss draws after it.
    alone = plain(random_batch(4))
    supervised = tuned.captioner.loss(random_batch(4))["loss"]
    assert both["loss"].item() == pytest.approx((alone["loss"] + 2 * supervised).item(), abs=1e-5)
    assert both["expected_overlap"] == alone["expected_overlap"] == -alone["loss"] > 0
    assert (
        alone.keys() == {"loss", "expected_overlap"} and not alone["expected_overlap"].requires_grad
    )


@pytest.mark.parametrize("name", ["autoregressive", "masked-diffusion"])
def test_a_system_without_a_graph_is_refused(name):
    with pytest.raises(UserError, match="no closed form"):
        objective(name)(random_batch(2))
