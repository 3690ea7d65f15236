"""What a metric returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np


@dataclass(frozen=True)
class Pooled:
    """How a corpus score comes from counts that are summed over images (BLEU, METEOR)."""

    counts_IK: np.ndarray  # K counts of each image, in the order of `MetricResult.per_image`
    score: Callable[[np.ndarray], np.ndarray]  # of X sums of rows (XK): X corpus scores


@dataclass(frozen=True)
class MetricResult:
    """A metric over a set of images. `per_image` (image id -> score) is empty where the metric exists for the whole set only.

    `pooled` stands where the corpus score is no mean of the per-image scores, and what it is computed from is known.
    """

    corpus: float
    per_image: dict[int, float]
    pooled: Pooled | None = field(default=None, compare=False, repr=False)


def mean_over_images(per_image: dict[int, float]) -> MetricResult:
    """A metric that is the mean of its scores per image; the sum is exact, so the order of the images does not matter."""
    return MetricResult(fmean(per_image.values()), per_image)
