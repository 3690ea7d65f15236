"""Uncertainty of a mean over images."""

from collections.abc import Sequence

import numpy as np

from dsacap.errors import UserError


def bootstrap_mean_interval(values: Sequence[float], seed: int = 0, resamples: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval (Efron & Tibshirani 1993, section 13.3) of the mean of `values`, one value an image.

    The same values, in any order, and the same seed give the same interval. Memory is that of one resample. Raises UserError
    where there is no value.
    """
    if len(values) == 0:
        raise UserError("no values, so their mean has no interval")
    ordered, rng = np.sort(np.asarray(values, np.float64)), np.random.default_rng(seed)
    means = [rng.choice(ordered, len(ordered)).mean() for _ in range(resamples)]
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
