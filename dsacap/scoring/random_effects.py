"""The interval and the test of an effect whose seeds and images are both samples.

Every seed (S of them) is scored on the same images (I). A value is modelled as

    y_si = mu + a_s + b_i + e_si        variances A (seeds), B (images) and E (the rest),

a two-way crossed random-effects layout without replication: seeds and images are drawn from many,
and a verdict is about those many. Clark 1973 ("The language-as-fixed-effect fallacy") has the same
case with subjects and words; Searle, Casella & McCulloch 1992, chapter 4, has the mean squares. The
mean of all values has the variance A/S + B/I + E/(S I), in two parts that can be estimated:

    V_seeds  = var_s(mean_i y_si) / S                                   of A/S + E/(S I)
    V_images = max(0, var_i(mean_s y_si) / I - MS_e / (S I))            of B/I
    MS_e     = sum_si (y_si - y_s. - y_.i + y..)^2 / ((S - 1) (I - 1))  of E

V_seeds has S - 1 degrees of freedom and V_images, about, I - 1. A t interval on V = V_seeds +
V_images takes

    1/f = (V_seeds / V) / f_seeds + (V_images / V) / (I - 1),           f_seeds = S - 1.

Satterthwaite 1946 weights the two by the squares of their shares of V instead. Where three seeds
agree by chance, that estimate calls f large and the interval is too short: it covers 92 % where it
should cover 95. Cochran & Cox 1950 weight quantiles by the shares themselves, which covers up to
97 %. The shares as weights of 1/f keep between (docs/claims.md has a simulation).

The difference of two systems is estimated in one of two ways. If a seed of one system has
something in common with the same seed of the other, such as the weights that both were tuned from,
their difference by seed and image is a single group y. Otherwise a number that two systems share as
their seed says nothing about both, so each system is a group with its own V_seeds, and only images
are paired: V_seeds is the sum of both, with Satterthwaite's f_seeds of a sum (Welch's), and the
interval is narrower because there are more degrees of freedom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mpmath
import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.metric_result import Pooled

_LEVEL = 0.95


@dataclass(frozen=True)
class Effect:
    """An estimated effect.

    Attributes:
        value: The estimate.
        low: The lower end of its 95 % interval.
        high: The upper end.
        p: Two-sided p of no effect.
        degrees: Degrees of freedom of the t distribution behind them.
    """

    value: float
    low: float
    high: float
    p: float
    degrees: float


@dataclass(frozen=True)
class Parts:
    """An estimate and the parts of its variance.

    Attributes:
        value: The estimate.
        of_seeds: V_seeds of each group, with `seeds` - 1 degrees of freedom; none if some group has
            one seed.
        seeds: The number of seeds of each of these groups.
        of_images: V_images.
        images: The number of images.
    """

    value: float
    of_seeds: tuple[float, ...]
    seeds: tuple[int, ...]
    of_images: float
    images: int

    @property
    def variance(self) -> float:
        """V, the variance of the estimate."""
        return sum(self.of_seeds) + self.of_images

    @property
    def degrees(self) -> float:
        """f, the degrees of freedom of V."""
        if not (variance := self.variance):
            return 1.0
        reciprocal = self.of_images / variance / (self.images - 1)
        if of_seeds := sum(self.of_seeds):
            parts = zip(self.of_seeds, self.seeds, strict=True)
            degrees_of_seeds = of_seeds**2 / sum(v**2 / (seeds - 1) for v, seeds in parts)
            reciprocal += of_seeds / variance / degrees_of_seeds
        return 1 / reciprocal


def effect(groups_SI: Sequence[np.ndarray]) -> Effect:
    """Estimate the sum of the means of groups; the module's docstring has the equations.

    If some group has one seed, nothing is known about seeds: the interval is that of the images,
    for these seeds.

    Args:
        groups_SI: Values by seed and image of one group, such as differences of two systems; or of
            two groups, the values of one system and those of the other with a minus sign. The
            images are the same, the seeds are not.

    Raises:
        UserError: There are fewer than two images.
    """
    parts = parts_of(groups_SI)
    return t_interval(parts.value, parts.variance, parts.degrees)


def parts_of(groups_SI: Sequence[np.ndarray]) -> Parts:
    """Estimate the sum of the means of groups and the parts of its variance; see `effect`."""
    images = groups_SI[0].shape[1]
    if images < 2:
        raise UserError(f"an interval needs two or more images, and there are {images}")
    value = float(sum(y_SI.mean() for y_SI in groups_SI))
    mean_I = np.sum([y_SI.mean(0) for y_SI in groups_SI], axis=0)
    of_images = float(mean_I.var(ddof=1)) / images
    seeds = tuple(len(y_SI) for y_SI in groups_SI)
    if min(seeds) == 1:
        return Parts(value, (), (), of_images, images)
    of_seeds = tuple(float(y_SI.mean(1).var(ddof=1)) / len(y_SI) for y_SI in groups_SI)
    rest = sum(_mean_square_of_rest(y_SI) / y_SI.size for y_SI in groups_SI)
    return Parts(value, of_seeds, seeds, max(0.0, of_images - rest), images)


def t_interval(value: float, variance: float, degrees: float) -> Effect:
    """Return the effect of an estimate whose variance is estimated with some degrees of freedom."""
    if variance == 0:
        return Effect(value, value, value, 0.0 if value else 1.0, degrees)
    error = float(np.sqrt(variance))
    half = quantile(degrees) * error
    return Effect(value, value - half, value + half, two_sided_p(value / error, degrees), degrees)


def two_sided_p(t: float, degrees: float) -> float:
    """Return the probability that Student's t is at least as far from 0 as `t`.

    It is the regularised incomplete beta function I_x(f/2, 1/2) at x = f / (f + t^2).
    """
    x = degrees / (degrees + t * t)
    return float(mpmath.betainc(degrees / 2, 0.5, 0, x, regularized=True))


def quantile(degrees: float, level: float = _LEVEL) -> float:
    """Return the t that Student's t stays within, to both sides of 0, with probability `level`."""

    def excess(t: mpmath.mpf) -> float:
        return two_sided_p(float(t), degrees) - (1 - level)

    low = high = 1.0
    while excess(high) > 0:
        low, high = high, 2 * high
    while excess(low) < 0:
        low /= 2
    return float(mpmath.findroot(excess, (low, high), solver="illinois", tol=1e-20))


def influences(pooled: Pooled) -> np.ndarray:
    """Return values by image whose mean is a corpus score, and whose variance is that of the score.

    They are the score plus I - 1 times what leaving out the image takes from it: the jackknife's
    linear approximation (Efron & Tibshirani 1993, chapter 11). So a score of counts, such as BLEU,
    enters `effect` like a mean over images.

    Args:
        pooled: The counts of each image, and the score as a function of their sums.
    """
    sums = pooled.counts_IK.sum(0)[None]
    without_I = pooled.score(sums - pooled.counts_IK)
    moved_I = (len(without_I) - 1) * (without_I.mean() - without_I)
    return pooled.score(sums)[0] + moved_I


def _mean_square_of_rest(y_SI: np.ndarray) -> float:
    rest_SI = y_SI - y_SI.mean(0) - y_SI.mean(1, keepdims=True) + y_SI.mean()
    return float((rest_SI**2).sum()) / ((len(y_SI) - 1) * (y_SI.shape[1] - 1))
