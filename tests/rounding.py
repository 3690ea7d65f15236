"""How far two ways to the same number may lie apart by rounding alone, and no further.

Two orders of adding the same float32 numbers, or two kernels, differ by a random walk of rounding
errors, each at most half of EPS of the sum so far. A training amplifies that: Adam moves a weight
whose gradient is but rounding as fast as any other. So the first step of two trainings is compared
tightly, and what follows loosely; a real difference shows in the first step, where nothing has been
amplified yet.
"""

from collections.abc import Mapping

import pytest
import torch

EPS = torch.finfo(torch.float32).eps
_DEVIATIONS = 4  # of the random walk; one comparison in 16,000 would pass it by chance
_AMPLIFIED = 20  # measured: 50 steps amplify the rounding of the first one by 2 to 20
_LOGGED = 1e-6  # the last digit of train.jsonl


def apart(terms: int) -> float:
    """Return by how much, relative to it, a sum of `terms` numbers may differ by its order."""
    return _DEVIATIONS * terms**0.5 * EPS


def assert_same_losses(
    one: Mapping[int, Mapping], other: Mapping[int, Mapping], terms: int
) -> None:
    """Compare the curves of two trainings that differ by rounding alone.

    Args:
        one: what a training logged, by step; `other` likewise.
        terms: the most numbers that a logged value is a sum of.
    """
    assert list(one) == list(other)
    for step in one:
        assert one[step].keys() == other[step].keys(), f"step {step}"
        near = apart(terms) * (1 if step == 1 else _AMPLIFIED)
        for name, value in one[step].items():
            if name != "val_CIDEr":  # a word whose rival is as likely may fall either way
                allowed = pytest.approx(value, rel=near, abs=_LOGGED + near)
                assert other[step][name] == allowed, f"step {step}: {name}"
