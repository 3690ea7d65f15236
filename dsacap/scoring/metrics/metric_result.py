"""The result of a metric."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np


@dataclass(frozen=True)
class Pooled:
    """A corpus score as a function of counts that are summed over images (BLEU, METEOR)."""

    counts_IK: np.ndarray  # K counts of each image, in the order of `MetricResult.per_image`
    score: Callable[[np.ndarray], np.ndarray]  # sums of rows (X, K) -> corpus scores (X)


@dataclass(frozen=True)
class MetricResult:
    """The scores of one metric on a set of images.

    `pooled` is given if the corpus score is not the mean of the per-image scores but a function of
    known counts.
    """

    corpus: float
    per_image: dict[int, float]  # by image id; empty if the metric is defined for the set only
    pooled: Pooled | None = field(default=None, compare=False, repr=False)


def mean_over_images(per_image: dict[int, float]) -> MetricResult:
    """Return the result of a metric whose corpus score is the mean over images.

    The sum is exact, so the order of the images does not matter.
    """
    return MetricResult(fmean(per_image.values()), per_image)
