"""Intervals of pooled scores and comparisons of two systems."""

import random
from functools import partial

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.bleu import bleu_of_sums, bleu_statistics
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled, mean_over_images
from dsacap.scoring.statistics import (
    bootstrap_mean_interval,
    bootstrap_pooled_interval,
    compare,
    interval_of,
    paired_bootstrap,
    paired_pooled_bootstrap,
)

RNG = random.Random(2)
REFERENCES = [[" ".join(RNG.choices("abcde", k=9)) for _ in range(3)] for _ in range(200)]


def captions(faithful: float) -> list[str]:
    return [
        of_image[0] if RNG.random() < faithful else " ".join(RNG.choices("abcdefg", k=9))
        for of_image in REFERENCES
    ]


GOOD, POOR = (bleu_statistics(REFERENCES, captions(faithful)) for faithful in (0.6, 0.3))


def bootstrap_bleu_interval(statistics, n, *how, **settings):
    pooled = Pooled(statistics.table(), partial(bleu_of_sums, n=n))
    return bootstrap_pooled_interval(pooled, *how, **settings)


def rows(statistics):
    return dict(enumerate(statistics.table()))


def bleu4(sums):
    return bleu_of_sums(sums, 4)


def test_bleu_interval_holds_the_score_and_ignores_order():
    for n in range(1, 5):
        low, high = bootstrap_bleu_interval(GOOD, n, resamples=300)
        assert low < GOOD.pooled()[n - 1] < high
    assert bootstrap_bleu_interval(
        GOOD.every(-1, None), 4, resamples=50
    ) == bootstrap_bleu_interval(GOOD, 4, resamples=50)
    assert bootstrap_bleu_interval(GOOD, 4, seed=1, resamples=50) != bootstrap_bleu_interval(
        GOOD, 4, resamples=50
    )
    with pytest.raises(UserError, match=r"^no images, so"):
        bootstrap_bleu_interval(GOOD.every(1, 200), 4)


def test_bleu_1_of_equal_lengths_is_a_mean():
    """If all captions and references have nine words, BLEU-1 is the mean of their precisions."""
    precisions = GOOD.matches_CN[:, 0] / 9
    expected = bootstrap_mean_interval(precisions, resamples=4000)
    assert bootstrap_bleu_interval(GOOD, 1, resamples=4000) == pytest.approx(expected, abs=0.004)


def test_a_pooled_score_that_is_a_mean_compares_as_one():
    a, b = (dict(enumerate(s.matches_CN[:, 0] / 9)) for s in (GOOD, POOR))
    pooled = paired_pooled_bootstrap(rows(GOOD), rows(POOR), lambda sums: bleu_of_sums(sums, 1))
    plain = paired_bootstrap(a, b)
    assert pooled.difference == pytest.approx(plain.difference)
    assert (pooled.low, pooled.high) == pytest.approx((plain.low, plain.high), abs=0.006)
    assert pooled.p == pytest.approx(plain.p, abs=0.01)


def test_a_clear_difference():
    paired = paired_pooled_bootstrap(rows(GOOD), rows(POOR), bleu4)
    assert paired.difference == pytest.approx(GOOD.pooled()[3] - POOR.pooled()[3])
    assert 0 < paired.low < paired.difference < paired.high
    assert paired.p == 1 / 2001
    turned = paired_pooled_bootstrap(rows(POOR), rows(GOOD), bleu4)
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-paired.difference, -paired.high, -paired.low)
    )


def test_no_difference():
    same = dict(enumerate(np.random.default_rng(0).random(50)))
    assert (
        paired_bootstrap(same, same).p
        == paired_pooled_bootstrap(rows(GOOD), rows(GOOD), bleu4).p
        == 1
    )
    assert paired_bootstrap(same, same).difference == 0


def test_p_of_few_images_is_that_of_all_their_signs():
    """Of the 2^4 ways to sign 1, 1, 1, 1, two have a sum as far from 0 as the observed one."""
    assert paired_bootstrap(
        dict.fromkeys(range(4), 1.0), dict.fromkeys(range(4), 0.0), resamples=20_000
    ).p == pytest.approx(2 / 16, abs=0.01)


@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_p_does_not_depend_on_rounding(scale):
    """System a is better on four of 40 images, and equal on the others.

    Up to the last bit, one in eight ways to sign the differences gives as large a difference.
    """
    rng = np.random.default_rng(4)
    for _ in range(12):
        b = rng.uniform(size=40)
        a = b + np.where(rng.permutation(40) < 4, rng.uniform(1, 2, size=40), 0)
        paired = paired_bootstrap(*(dict(enumerate(scale * x)) for x in (a, b)))
        assert paired.p == pytest.approx(1 / 8, abs=0.025)


def test_p_is_as_often_small_as_it_says_where_nothing_differs():
    rng = np.random.default_rng(3)
    pairs = [
        (dict(enumerate(rng.normal(size=30))), dict(enumerate(rng.normal(size=30))))
        for _ in range(200)
    ]
    assert 0.03 < np.mean([paired_bootstrap(a, b, resamples=200).p < 0.1 for a, b in pairs]) < 0.18


def test_deterministic_and_independent_of_the_order_of_images():
    a, b = (dict(enumerate(np.random.default_rng(i).random(60))) for i in (1, 2))
    turned = dict(reversed(a.items())), dict(reversed(b.items()))
    assert paired_bootstrap(a, b) == paired_bootstrap(*turned) == paired_bootstrap(a, b)
    assert paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b)


def test_guards():
    with pytest.raises(UserError, match=r"2 images have a score of one system only \(first: 2\)"):
        paired_bootstrap({1: 0.0, 2: 0.0}, {1: 0.0, 3: 0.0})
    with pytest.raises(UserError, match=r"^no images to compare"):
        paired_bootstrap({}, {})


def test_any_metric():
    """Means are resampled as means, pooled scores by their counts, and others give None."""
    mean = mean_over_images({1: 0.1, 2: 0.5, 3: 0.4})
    neither = MetricResult(0.9, mean.per_image)
    bleu = MetricResult(
        GOOD.pooled()[3], dict.fromkeys(range(200), 0.0), Pooled(GOOD.table(), bleu4)
    )
    other = MetricResult(
        POOR.pooled()[3], dict.fromkeys(range(200), 0.0), Pooled(POOR.table(), bleu4)
    )
    assert interval_of(mean) == bootstrap_mean_interval([0.1, 0.5, 0.4])
    assert interval_of(bleu) == bootstrap_bleu_interval(GOOD, 4)
    assert interval_of(neither) is None and interval_of(MetricResult(3, {})) is None
    assert compare(mean, mean_over_images({1: 0.0, 2: 0.0, 3: 0.0})) == paired_bootstrap(
        mean.per_image, dict.fromkeys((1, 2, 3), 0.0)
    )
    assert compare(bleu, other) == paired_pooled_bootstrap(rows(GOOD), rows(POOR), bleu4)
    assert (
        compare(neither, mean)
        is compare(mean, neither)
        is compare(bleu, mean)
        is compare(mean, bleu)
        is None
    )


def test_any_metric_with_other_settings():
    mean, other = (
        mean_over_images({1: 0.1, 2: 0.5, 3: 0.4, 4: 0.9}),
        mean_over_images({1: 0.3, 2: 0.4, 3: 0.1, 4: 0.2}),
    )
    bleu, poor = (
        MetricResult(s.pooled()[3], dict.fromkeys(range(200), 0.0), Pooled(s.table(), bleu4))
        for s in (GOOD, POOR)
    )
    assert interval_of(mean, 3, 50, 0.5) == bootstrap_mean_interval(
        [0.1, 0.5, 0.4, 0.9], 3, 50, 0.5
    )
    assert interval_of(bleu, 3, 50, 0.5) == bootstrap_bleu_interval(GOOD, 4, 3, 50, 0.5)
    assert compare(mean, other, 3, 50) == paired_bootstrap(mean.per_image, other.per_image, 3, 50)
    paired, differences = (
        paired_bootstrap(mean.per_image, other.per_image, 3, 50),
        [-0.2, 0.1, 0.3, 0.7],
    )
    assert (paired.low, paired.high) == pytest.approx(
        bootstrap_mean_interval(differences, 3, 50), abs=1e-12
    )
    assert bootstrap_mean_interval(differences, 3, 50) != bootstrap_mean_interval(differences, 3)
    assert compare(bleu, poor, 3, 50) == paired_pooled_bootstrap(
        rows(GOOD), rows(POOR), bleu4, 3, 50
    )


def test_published_comparisons_can_be_made_again():
    """The defaults have not changed since the first tables.

    They are seed 0, 1,000 and 2,000 resamples, and 95 %.
    """
    good, poor = GOOD.every(8, 0), POOR.every(8, 0)
    assert bootstrap_bleu_interval(good, 2) == pytest.approx(
        (0.625273211869226, 0.8543359952139716), rel=1e-12
    )
    assert bootstrap_pooled_interval(
        Pooled(good.table(), lambda sums: bleu_of_sums(sums, 2))
    ) == bootstrap_bleu_interval(good, 2)
    a, b = (dict(enumerate(s.matches_CN[:, 0] / 9)) for s in (good, poor))
    plain, pooled = paired_bootstrap(a, b), paired_pooled_bootstrap(rows(good), rows(poor), bleu4)
    assert (plain.difference, plain.low, plain.high, plain.p) == pytest.approx(
        (0.10222222222222221, 0.0, 0.20444444444444443, 0.09245377311344327), rel=1e-12
    )
    assert (pooled.difference, pooled.low, pooled.high, pooled.p) == pytest.approx(
        (0.2613352717437571, 0.05288820836403373, 0.4792269040981565, 0.02148925537231384),
        rel=1e-12,
    )
