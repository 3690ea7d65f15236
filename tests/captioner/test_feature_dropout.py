"""Every system can drop out image features at a rate of its own, in training alone."""

import pytest
import torch

from dsacap.captioner.batch_parts import Dropout
from dsacap.captioner.registry import load_captioner
from helpers import SPEC, ListMemory, random_batch

SMALL = {"width": 32, "heads": 2}
RATE = 0.7
SYSTEMS = {
    "autoregressive": {},
    "masked-diffusion": {},
    "bit-diffusion": {},
    "scd-net": {},
    "ladic": {"latent": 8, "text_steps": 1},
    "parallel": {},
    "dsacap": {"vertices": 9},
}


def shares_of_zeros(name: str, training: bool, **rates: float) -> list[float]:
    """Return what each dropout of image tokens sets to zero while a batch is trained on."""
    torch.manual_seed(0)
    captioner = load_captioner(name, {**SMALL, **SYSTEMS[name], **rates}, SPEC)
    captioner.learn_from(ListMemory([[4, 5, 6, 2], [7, 4, 2, 0]]))
    if name == "ladic":
        captioner.trained_steps += 2  # its text encoder is trained already
    captioner.train(training)
    shares: list[float] = []

    def record(module, inputs, output):
        if module.p == RATE:
            assert output.shape[1:] == (SPEC.tokens, SMALL["width"])
            shares.append((output == 0).float().mean().item())

    for module in captioner.modules():
        if isinstance(module, Dropout):
            module.register_forward_hook(record)
    captioner.loss(random_batch(8))
    return shares


@pytest.mark.parametrize("name", SYSTEMS)
def test_projected_features_are_dropped_out_in_training_alone(name):
    dropped = shares_of_zeros(name, training=True, feature_dropout=RATE)
    if name == "scd-net":  # its first stage also writes, without dropout, what the second reads
        assert dropped.pop() == 0
    assert dropped and all(share == pytest.approx(RATE, abs=0.06) for share in dropped)
    kept = shares_of_zeros(name, training=False, feature_dropout=RATE)
    assert kept and max(kept) == 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_without_a_rate_of_its_own_it_is_the_models(name):
    torch.manual_seed(0)
    captioner = load_captioner(name, {**SMALL, **SYSTEMS[name], "dropout": 0.25}, SPEC)
    rates = {module.p for module in captioner.modules() if isinstance(module, Dropout)}
    assert 0.25 in rates and rates <= {0, 0.25}
