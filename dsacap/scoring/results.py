"""What a metric returns."""

from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class MetricResult:
    """A metric over a set of images. `per_image` (image id -> score) is empty where the metric exists for the whole set only."""

    corpus: float
    per_image: dict[int, float]


def mean_over_images(per_image: dict[int, float]) -> MetricResult:
    """A metric that is the mean of its scores per image; the sum is exact, so the order of the images does not matter."""
    return MetricResult(fmean(per_image.values()), per_image)
