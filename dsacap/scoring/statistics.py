"""Uncertainty of corpus scores, and whether two systems differ; the images are what is resampled.

- A mean of per-image scores (ROUGE-L, CIDEr, SPICE, ...) is resampled as such. CIDEr's scores hold their document frequencies fixed: the
  references that they come from are not resampled with the images.
- BLEU and METEOR are functions of counts that are summed over images (`results.Pooled`): the counts are resampled.
- Where a corpus score is neither, there is no interval: None, never a wrong one.

Matrix products (`@`), whose order of summation depends on the processor, are of whole numbers and halves only: exact in any order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.bleu import BleuStatistics, bleu_of_sums
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled

# A permuted difference counts as no smaller than the observed one within rounding, since sums depend on their order.
_ROUNDING = 1e-12
_BLOCK = 2**17  # images drawn at a time, in all resamples of a block: 1 MB
_KEPT = 2**20  # images drawn that are kept for the next score of as many images


@dataclass(frozen=True)
class Paired:
    """A score of system a minus that of system b on the same images, its 95 % bootstrap interval, and how rarely chance gives as much.

    `p` is two-sided, of the paired permutation test: for every image it is tossed which of the two outputs is called a's.
    """

    difference: float
    low: float
    high: float
    p: float


def bootstrap_mean_interval(
    values: Sequence[float], seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval (Efron & Tibshirani 1993, section 13.3) of the mean of `values`, one value an image.

    The same values, in any order, and the same seed give the same interval. Memory is that of a few resamples. Raises UserError
    where there is no value.
    """
    if len(values) == 0:
        raise UserError("no values, so their mean has no interval")
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
    """The percentile bootstrap interval of the mean over S training seeds and I images, both drawn anew: a gain that one lucky seed
    brings is not taken for one of the method. Of one seed it is the interval over images alone."""
    seeds, images = values_SI.shape
    rng, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        chosen = values_SI[rng.integers(seeds, size=seeds)]
        means.append(float((chosen.mean(0) * _draw(rng, images)).sum()) / images)
    return _interval(means, level)


def bootstrap_pooled_interval(
    pooled: Pooled, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of a corpus score: images are drawn with their counts, which are summed anew.

    Independent of the order of images, like `bootstrap_mean_interval`. Raises UserError where there is no image.
    """
    counts = pooled.counts_IK
    if len(counts) == 0:
        raise UserError("no images, so their score has no interval")
    counts = counts[np.lexsort(counts.T)]
    sums = [_times_drawn(drawn_RI) @ counts for drawn_RI in _draws(seed, len(counts), resamples)]
    return _interval(pooled.score(np.concatenate(sums)), level)


def bootstrap_bleu_interval(
    statistics: BleuStatistics, n: int, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """`bootstrap_pooled_interval` of corpus BLEU-n, 0..1."""
    return bootstrap_pooled_interval(
        Pooled(statistics.table(), partial(bleu_of_sums, n=n)), seed, resamples, level
    )


def interval_of(
    result: MetricResult, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float] | None:
    """The interval of any metric's corpus score; None where the score is neither pooled from known counts nor its images' mean."""
    if result.pooled:
        return bootstrap_pooled_interval(result.pooled, seed, resamples, level)
    return (
        bootstrap_mean_interval(list(result.per_image.values()), seed, resamples, level)
        if is_mean(result)
        else None
    )


def is_mean(result: MetricResult) -> bool:
    """Whether the corpus score is the mean of the per-image scores."""
    return (
        bool(result.per_image)
        and abs(np.mean(list(result.per_image.values())) - result.corpus) < 1e-9
    )


def compare(
    a: MetricResult, b: MetricResult, seed: int = 0, resamples: int = 2000
) -> Paired | None:
    """Compares two systems by any metric's corpus score; None where that is neither pooled nor a mean. Raises UserError where the
    images differ."""
    if a.pooled and b.pooled:
        rows_a, rows_b = (dict(zip(r.per_image, r.pooled.counts_IK, strict=True)) for r in (a, b))
        return paired_pooled_bootstrap(rows_a, rows_b, a.pooled.score, seed, resamples)
    return (
        paired_bootstrap(a.per_image, b.per_image, seed, resamples)
        if is_mean(a) and is_mean(b)
        else None
    )


def paired_bootstrap(
    a: Mapping[int, float], b: Mapping[int, float], seed: int = 0, resamples: int = 2000
) -> Paired:
    """Compares two systems by the mean of their per-image scores, by image id.

    The interval is a bootstrap of the differences; p tosses their signs. The smallest p is 1 / (resamples + 1). Raises UserError where
    the images differ or there are none.
    """
    ids = _same_images(a, b)
    differences = np.array([a[i] - b[i] for i in ids])
    low, high = bootstrap_mean_interval(differences, seed, resamples)
    rng, observed = np.random.default_rng(seed), differences.mean()
    tossed = [(_signs(rng, len(ids)) * differences).sum() / len(ids) for _ in range(resamples)]
    return Paired(float(observed), low, high, _p(observed, np.array(tossed)))


def paired_pooled_bootstrap(
    a: Mapping[int, np.ndarray],
    b: Mapping[int, np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    resamples: int = 2000,
) -> Paired:
    """Compares two systems by a pooled score, from their rows of counts by image id.

    The interval draws images with both systems' counts; p swaps the systems' counts of an image (approximate randomisation, Riezler &
    Maxwell 2005). Raises UserError where the images differ or there are none.
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
    """Which images are in each resample, a block of resamples at a time [R, images]: the same for all scores of as many images."""
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
    """How often each image is in each resample."""
    return np.stack([np.bincount(drawn_I, minlength=len(drawn_I)) for drawn_I in drawn_RI]).astype(
        np.float64
    )


def _draw(rng: np.random.Generator, images: int) -> np.ndarray:
    """How often each image is in one resample."""
    return np.bincount(rng.integers(images, size=images), minlength=images).astype(np.float64)


def _signs(rng: np.random.Generator, images: int) -> np.ndarray:
    return rng.integers(2, size=images, dtype=np.int8) * 2.0 - 1.0


def _p(observed: float, tossed: np.ndarray) -> float:
    """The observed labelling is one of the possible ones, so p is never 0."""
    as_large = np.count_nonzero(np.abs(tossed) >= abs(observed) - _ROUNDING)
    return float((as_large + 1) / (len(tossed) + 1))


def _interval(values: Sequence[float] | np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _same_images(a: Mapping, b: Mapping) -> list[int]:
    """In ascending order, so that results do not depend on that of the files."""
    only = sorted(a.keys() ^ b.keys())
    if only:
        raise UserError(
            f"systems are compared on the same images: {len(only)} are in one only (first: {only[0]}); score both on one set"
        )
    if not a:
        raise UserError("no images to compare two systems on")
    return sorted(a)
