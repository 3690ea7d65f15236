"""Comparing scores with a stock implementation, whose last bit depends on the processor."""

from collections.abc import Iterable

import numpy as np

MOST_ULPS = (
    4  # CIDEr adds rounded logarithms, BLEU multiplies rounded powers: one ulp becomes several
)
SHARE_EQUAL = 0.9  # of the scores; if sums were taken in another order, half would differ


def ulps_apart(ours: Iterable[float], stock: Iterable[float]) -> np.ndarray:
    """Return by how many units in the last place the numbers of two lists differ."""
    a, b = (np.array(list(values), np.float64) for values in (ours, stock))
    assert a.shape == b.shape
    return np.abs(a - b) / np.spacing(np.maximum(np.abs(a), np.abs(b)))


def assert_close_to_stock(ours: Iterable[float], stock: Iterable[float]) -> None:
    """Assert that every score is within MOST_ULPS of the stock one."""
    assert ulps_apart(ours, stock).max(initial=0) <= MOST_ULPS


def assert_mostly_equals_stock(ours: Iterable[float], stock: Iterable[float]) -> None:
    """Assert the same, and that SHARE_EQUAL of the scores are equal to the last bit."""
    apart = ulps_apart(ours, stock)
    assert apart.max(initial=0) <= MOST_ULPS
    assert np.mean(apart == 0) >= SHARE_EQUAL
