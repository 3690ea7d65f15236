"""Uncertainty of corpus scores and comparison of two systems, by resampling images.

- A mean of per-image scores (ROUGE-L, CIDEr, SPICE, ...) is resampled as a mean. The document
  frequencies of CIDEr stay fixed: the references that they come from are not resampled with the
  images.
- BLEU and METEOR are functions of counts that are summed over images (`metric_result.Pooled`), so
  the counts are resampled.
- A corpus score that is neither has no interval: None rather than a wrong one.

Matrix products (`@`) add in an order that depends on the processor. They are used on whole numbers
and halves only, whose sums are exact in any order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled

# A permuted difference this much smaller than the observed one still counts as equal to it, because
# the order of summation changes the last bits.
_ROUNDING = 1e-12
_BLOCK = 2**17  # images drawn at a time, over all resamples of a block: 1 MB
_KEPT = 2**20  # most drawn images that are cached for the next score of as many images


@dataclass(frozen=True)
class Paired:
    """A score of system a minus that of system b on the same images, with its significance."""

    difference: float
    low: float  # of the 95 % bootstrap interval of the difference
    high: float
    p: float  # two-sided, of the paired permutation test, which swaps the systems image by image


def bootstrap_mean_interval(
    values: Sequence[float] | np.ndarray,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean over images.

    Efron & Tibshirani 1993, section 13.3. The same values, in any order, and the same seed give
    the same interval. Only a few resamples are in memory at a time.

    Args:
        values: One value per image.
        seed: Seed of the resamples.
        resamples: How many resamples are drawn.
        level: Coverage of the interval.

    Returns:
        The lower and the upper end.

    Raises:
        UserError: There are no values.
    """
    if len(values) == 0:
        raise UserError("no values, so there is no interval of their mean")
    ordered = np.sort(np.asarray(values, np.float64))
    return _interval(
        np.concatenate(
            [ordered[drawn_RI].mean(1) for drawn_RI in _draws(seed, len(ordered), resamples)]
        ),
        level,
    )


def bootstrap_seeds_interval(
    values_SI: np.ndarray, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean over training seeds and images.

    Both are resampled. With the two to five seeds of an experiment it covers far less than its
    level (docs/claims.md), so claims are tested by `random_effects` instead. With one seed, this is
    the interval over images alone.

    Args:
        values_SI: One value per seed (S) and image (I).
        seed: Seed of the resamples.
        resamples: How many resamples are drawn.
        level: Coverage of the interval.

    Returns:
        The lower and the upper end.
    """
    seeds, images = values_SI.shape
    rng, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        chosen = values_SI[rng.integers(seeds, size=seeds)]
        means.append(float((chosen.mean(0) * _draw(rng, images)).sum()) / images)
    return _interval(means, level)


def bootstrap_pooled_interval(
    pooled: Pooled, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a corpus score that is computed from counts.

    Images are drawn with their counts, and the score is computed from the new sums. As in
    `bootstrap_mean_interval`, the order of the images does not matter.

    Args:
        pooled: The counts of each image, and the score as a function of their sums.
        seed: Seed of the resamples.
        resamples: How many resamples are drawn.
        level: Coverage of the interval.

    Returns:
        The lower and the upper end.

    Raises:
        UserError: There are no images.
    """
    counts = pooled.counts_IK
    if len(counts) == 0:
        raise UserError("no images, so there is no interval of their score")
    counts = counts[np.lexsort(counts.T)]
    sums = [_times_drawn(drawn_RI) @ counts for drawn_RI in _draws(seed, len(counts), resamples)]
    return _interval(pooled.score(np.concatenate(sums)), level)


def interval_of(
    result: MetricResult, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the bootstrap interval of the corpus score of any metric.

    Returns:
        The lower and the upper end; None if the score is neither computed from counts nor the mean
        of the per-image scores.
    """
    if result.pooled:
        return bootstrap_pooled_interval(result.pooled, seed, resamples, level)
    return (
        bootstrap_mean_interval(list(result.per_image.values()), seed, resamples, level)
        if is_mean(result)
        else None
    )


def is_mean(result: MetricResult) -> bool:
    """Return whether the corpus score is the mean of the per-image scores."""
    if not result.per_image:
        return False
    return bool(abs(np.mean(list(result.per_image.values())) - result.corpus) < 1e-9)


def compare(
    a: MetricResult, b: MetricResult, seed: int = 0, resamples: int = 2000
) -> Paired | None:
    """Compare two systems by the corpus score of any metric.

    Args:
        a: The metric's result for the first system.
        b: The metric's result for the second system, on the same images.
        seed: Seed of the resamples.
        resamples: How many resamples are drawn, and how many permutations.

    Returns:
        The comparison; None if the score is neither computed from counts nor a mean.

    Raises:
        UserError: The images differ.
    """
    if a.pooled and b.pooled:
        rows_a = dict(zip(a.per_image, a.pooled.counts_IK, strict=True))
        rows_b = dict(zip(b.per_image, b.pooled.counts_IK, strict=True))
        return paired_pooled_bootstrap(rows_a, rows_b, a.pooled.score, seed, resamples)
    return (
        paired_bootstrap(a.per_image, b.per_image, seed, resamples)
        if is_mean(a) and is_mean(b)
        else None
    )


def paired_bootstrap(
    a: Mapping[int, float], b: Mapping[int, float], seed: int = 0, resamples: int = 2000
) -> Paired:
    """Compare two systems by the mean of their per-image scores.

    The interval is a bootstrap of the differences. The permutation test flips their signs at
    random; its smallest p is 1 / (resamples + 1).

    Args:
        a: Image id -> score of the first system.
        b: Image id -> score of the second system.
        seed: Seed of the resamples.
        resamples: How many resamples are drawn, and how many permutations.

    Raises:
        UserError: The images differ, or there are none.
    """
    ids = _same_images(a, b)
    differences = np.array([a[i] - b[i] for i in ids])
    low, high = bootstrap_mean_interval(differences, seed, resamples)
    rng, observed = np.random.default_rng(seed), differences.mean()
    permuted = [(_signs(rng, len(ids)) * differences).sum() / len(ids) for _ in range(resamples)]
    return Paired(float(observed), low, high, _p(observed, np.array(permuted)))


def paired_pooled_bootstrap(
    a: Mapping[int, np.ndarray],
    b: Mapping[int, np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    resamples: int = 2000,
) -> Paired:
    """Compare two systems by a corpus score that is computed from counts.

    The interval is a bootstrap over images, each with the counts of both systems. The permutation
    test swaps the two systems' counts image by image (approximate randomisation, Riezler & Maxwell
    2005).

    Args:
        a: Image id -> counts of the first system.
        b: Image id -> counts of the second system.
        score: Corpus scores (X) of sums of counts (X, K), as in `Pooled`.
        seed: Seed of the resamples.
        resamples: How many resamples are drawn, and how many permutations.

    Raises:
        UserError: The images differ, or there are none.
    """
    ids, rng = _same_images(a, b), np.random.default_rng(seed)
    of_a, of_b = (np.stack([rows[i] for i in ids]) for rows in (a, b))
    observed = (score(of_a.sum(0)[None]) - score(of_b.sum(0)[None]))[0]
    drawn = [_draw(rng, len(ids)) for _ in range(resamples)]
    drawn_a, drawn_b = (
        score(np.stack([weights @ rows for weights in drawn])) for rows in (of_a, of_b)
    )
    middle, half = (of_a + of_b).sum(0) / 2, (of_a - of_b) / 2
    moved = np.stack([_signs(rng, len(ids)) @ half for _ in range(resamples)])
    p = _p(observed, score(middle + moved) - score(middle - moved))
    return Paired(float(observed), *_interval(drawn_a - drawn_b, 0.95), p)


def _draws(seed: int, images: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield the images of each resample, in blocks (R, images) of resamples.

    They are the same for all scores of the same number of images.
    """
    size, rng = max(1, _BLOCK // images), np.random.default_rng(seed)
    kept = _kept_draws(seed, images, resamples) if images * resamples <= _KEPT else None
    for at in range(0, resamples, size):
        yield (
            rng.integers(images, size=(min(size, resamples - at), images))
            if kept is None
            else kept[at : at + size]
        )


@lru_cache(maxsize=2)
def _kept_draws(seed: int, images: int, resamples: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(images, size=(resamples, images))


def _times_drawn(drawn_RI: np.ndarray) -> np.ndarray:
    """Count how often each image is in each resample."""
    return np.stack([np.bincount(drawn_I, minlength=len(drawn_I)) for drawn_I in drawn_RI]).astype(
        np.float64
    )


def _draw(rng: np.random.Generator, images: int) -> np.ndarray:
    """Draw a resample, and count how often each image is in it."""
    return np.bincount(rng.integers(images, size=images), minlength=images).astype(np.float64)


def _signs(rng: np.random.Generator, images: int) -> np.ndarray:
    return rng.integers(2, size=images, dtype=np.int8) * 2.0 - 1.0


def _p(observed: float, permuted: np.ndarray) -> float:
    """Return the two-sided p.

    It is never 0, because the observed labelling is one of the possible ones.
    """
    as_large = np.count_nonzero(np.abs(permuted) >= abs(observed) - _ROUNDING)
    return float((as_large + 1) / (len(permuted) + 1))


def _interval(values: Sequence[float] | np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _same_images(a: Mapping, b: Mapping) -> list[int]:
    """Return the image ids in ascending order, so that the order of the files does not matter."""
    only = sorted(a.keys() ^ b.keys())
    if only:
        raise UserError(
            f"two systems can only be compared on the same images, but {len(only)} images have a"
            f" score of one system only (first: {only[0]}); score both on the same set"
        )
    if not a:
        raise UserError("no images to compare the two systems on; give scores of one or more")
    return sorted(a)
