import tracemalloc

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.metric_result import Pooled
from dsacap.scoring.statistics import (
    bootstrap_mean_interval,
    bootstrap_pooled_interval,
    bootstrap_seeds_interval,
)

VALUES = np.random.default_rng(5).exponential(size=400).tolist()


def test_matches_the_normal_theory_of_a_mean():
    low, high = bootstrap_mean_interval(VALUES, resamples=4000)
    mean, error = np.mean(VALUES), np.std(VALUES) / np.sqrt(len(VALUES))
    assert low < mean < high
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_a_wider_level_is_a_wider_interval():
    low, high = bootstrap_mean_interval(VALUES, level=0.5)
    lower, higher = bootstrap_mean_interval(VALUES, level=0.99)
    assert lower < low < high < higher
    assert (high - low) / (higher - lower) == pytest.approx(0.674 / 2.576, rel=0.15)


def test_deterministic_by_seed_and_independent_of_order():
    interval = bootstrap_mean_interval(VALUES, seed=1)
    assert (
        bootstrap_mean_interval(VALUES[::-1], seed=1)
        == interval
        == bootstrap_mean_interval(VALUES, seed=1)
    )
    assert bootstrap_mean_interval(VALUES, seed=2) != interval


def test_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [
        bootstrap_mean_interval(rng.normal(3, 1, 50), seed=i, resamples=300, level=0.8)
        for i in range(200)
    ]
    assert 0.70 < np.mean([low < 3 < high for low, high in intervals]) < 0.88


def test_equal_values_have_no_width():
    assert bootstrap_mean_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)


def test_memory_is_that_of_one_resample():
    values = np.random.default_rng(0).random(40_000)
    tracemalloc.start()
    bootstrap_mean_interval(values, resamples=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * values.nbytes


@pytest.mark.parametrize("images", [1, 3, 300, 3000])
def test_resamples_are_those_of_a_plain_loop(images):
    """They are equal to the last bit, even if too many images are drawn to be cached."""
    values, resamples = np.sort(np.random.default_rng(6).random(images)), 400
    rng = np.random.default_rng(7)
    means = [rng.choice(values, images).mean() for _ in range(resamples)]
    assert bootstrap_mean_interval(values[::-1], 7, resamples) == tuple(
        np.quantile(means, (0.025, 0.975))
    )
    rng, counts = np.random.default_rng(7), np.stack([np.arange(images), np.ones(images)], 1)
    sums = np.stack([counts[rng.integers(images, size=images)].sum(0) for _ in range(resamples)])
    pooled = Pooled(counts, lambda of: of[:, 0] / of[:, 1])
    assert bootstrap_pooled_interval(pooled, 7, resamples) == tuple(
        np.quantile(sums[:, 0] / sums[:, 1], (0.025, 0.975))
    )


def test_no_values():
    with pytest.raises(UserError, match=r"^no values, so"):
        bootstrap_mean_interval([])


def test_seeds_and_images_are_drawn_apart():
    """If a value is a term of the seed plus one of the image, the variances of their means add."""
    rng = np.random.default_rng(1)
    of_seed, of_image = rng.normal(size=12), rng.normal(3, 2, size=150)
    low, high = bootstrap_seeds_interval(of_seed[:, None] + of_image, resamples=4000)
    error = np.sqrt(of_seed.var() / 12 + of_image.var() / 150)
    assert (low + high) / 2 == pytest.approx(of_seed.mean() + of_image.mean(), abs=error / 5)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)
    lower, higher = bootstrap_seeds_interval(of_seed[:, None] + of_image, level=0.5)
    assert (higher - lower) / 2 == pytest.approx(0.674 * error, rel=0.1)


def test_with_one_seed_only_images_are_drawn():
    assert bootstrap_seeds_interval(np.array([VALUES]), resamples=4000) == pytest.approx(
        bootstrap_mean_interval(VALUES, resamples=4000), rel=0.02
    )


def test_published_intervals_can_be_made_again():
    """The defaults have not changed since the first tables.

    They are seed 0, 1,000 and 2,000 resamples, and 95 %.
    """
    assert bootstrap_mean_interval(VALUES[:20]) == pytest.approx(
        (0.5584383438662026, 1.1032985730270268), rel=1e-12
    )
    assert bootstrap_seeds_interval(np.reshape(VALUES[:60], (3, 20))) == pytest.approx(
        (0.6120402279091219, 1.072483071205395), rel=1e-12
    )
