"""How much two computations of the same number may differ by rounding, and no more.

Two orders of adding the same float32 numbers, or two kernels, differ by a random walk of rounding
errors, each at most half of EPS times the sum so far. Training amplifies that: Adam moves a weight
whose gradient is only rounding as fast as any other. So the first step of two trainings is compared
tightly, and later ones loosely; a real difference shows in the first step, where nothing has been
amplified yet.
"""

from collections.abc import Mapping

import pytest
import torch

EPS = torch.finfo(torch.float32).eps
_DEVIATIONS = 4  # of the random walk; one comparison in 16,000 would exceed it by chance
_AMPLIFIED = 20  # measured: 50 steps amplify the rounding of the first one by 2 to 20
_LOGGED = 1e-6  # the last digit of train.jsonl


def apart(terms: int) -> float:
    """Return the relative difference that another order may make to a sum of `terms` numbers."""
    return _DEVIATIONS * terms**0.5 * EPS


def assert_same_losses(
    one: Mapping[int, Mapping], other: Mapping[int, Mapping], terms: int
) -> None:
    """Assert that the curves of two trainings differ by rounding alone.

    Args:
        one: Step -> what a training logged.
        other: The same of the other training.
        terms: The largest number of terms in a sum that is logged.
    """
    assert list(one) == list(other)
    for step in one:
        assert one[step].keys() == other[step].keys(), f"step {step}"
        near = apart(terms) * (1 if step == 1 else _AMPLIFIED)
        for name, value in one[step].items():
            if name != "val_CIDEr":  # of two equally likely words either may win
                allowed = pytest.approx(value, rel=near, abs=_LOGGED + near)
                assert other[step][name] == allowed, f"step {step}: {name}"
