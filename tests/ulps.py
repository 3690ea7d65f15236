"""Scores beside those of a stock implementation, whose logarithms and powers depend on the processor in their last bit."""

from collections.abc import Iterable

import numpy as np

MOST_OF_THEM = 0.9  # of the scores; where sums were taken in another order, half would differ


def ulps_apart(ours: Iterable[float], stock: Iterable[float]) -> np.ndarray:
    """How many units in the last place lie between the numbers of two lists."""
    ours, stock = (np.array(list(values), np.float64) for values in (ours, stock))
    assert ours.shape == stock.shape
    return np.abs(ours - stock) / np.spacing(np.maximum(np.abs(ours), np.abs(stock)))


def assert_are_stocks(ours: Iterable[float], stock: Iterable[float], most: float = 4) -> None:
    """Fail where a score is more than `most` units in the last place from stock's.

    CIDEr adds up rounded logarithms, and METEOR and BLEU multiply two rounded powers, so one unit there is up to four here.
    """
    assert ulps_apart(ours, stock).max(initial=0) <= most


def assert_mostly_equal(ours: Iterable[float], stock: Iterable[float]) -> None:
    """As `assert_are_stocks`, and fail where not most of the scores are the same bits."""
    apart = ulps_apart(ours, stock)
    assert apart.max(initial=0) <= 4 and np.mean(apart == 0) >= MOST_OF_THEM
