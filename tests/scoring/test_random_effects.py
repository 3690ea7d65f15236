"""Intervals and tests over seeds and images."""

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.metric_result import Pooled
from dsacap.scoring.random_effects import (
    Effect,
    effect,
    influences,
    parts_of,
    quantile,
    t_interval,
    two_sided_p,
)

RNG = np.random.default_rng(8)
OF_SEED = np.array([1.0, 2.0, 6.0])  # variance 7
OF_IMAGE = np.array([0.0, 3.0, 4.0, 5.0])  # variance 14 / 3
ADDED = OF_SEED[:, None] + OF_IMAGE
# Without means of rows and columns, so it changes neither those of seeds nor those of images.
REST = np.outer([1.0, -1.0, 0.0], [1.0, -1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("degrees", "tabled"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (499, 1.965)]
)
def test_quantiles_are_those_of_printed_tables(degrees, tabled):
    assert quantile(degrees) == pytest.approx(tabled, abs=5e-4)
    assert two_sided_p(quantile(degrees), degrees) == pytest.approx(0.05, rel=1e-6)
    assert quantile(degrees, level=0.5) < 1.01 < quantile(degrees, level=0.7)


def test_two_degrees_of_freedom_have_a_closed_form():
    for t in (0.1, 1.0, 30.0, 1e4):
        assert two_sided_p(t, 2) == pytest.approx(1 - t / np.sqrt(2 + t * t), rel=1e-6)


def test_parts_of_a_sum_of_seed_and_image():
    parts = parts_of([ADDED])
    assert parts.value == 6
    assert parts.of_seeds == pytest.approx((7 / 3,))
    assert parts.of_images == pytest.approx(14 / 3 / 4)
    share = (7 / 3) / (7 / 3 + 7 / 6)
    assert parts.degrees == pytest.approx(1 / (share / 2 + (1 - share) / 3))


def test_the_rest_is_taken_from_the_part_of_images_and_not_counted_twice():
    mean_square = (REST**2).sum() / (2 * 3)
    parts = parts_of([ADDED + REST])
    assert parts.of_seeds == pytest.approx((7 / 3,))
    assert parts.of_images == pytest.approx(14 / 3 / 4 - mean_square / 12)
    assert parts_of([OF_SEED[:, None] + REST]).of_images == 0


def test_groups_with_seeds_of_their_own_add_their_variances():
    others = -np.array([[0.0], [4.0]]) - OF_IMAGE / 2  # variance of the seeds 8
    parts = parts_of([ADDED, others])
    assert parts.value == pytest.approx(6 - 2 - 1.5)
    assert parts.of_seeds == pytest.approx((7 / 3, 8 / 2))
    assert parts.of_images == pytest.approx(14 / 3 / 4 / 4)  # of what images differ in
    of_seeds = 7 / 3 + 4
    degrees = of_seeds**2 / ((7 / 3) ** 2 / 2 + 4**2 / 1)
    share = of_seeds / parts.variance
    assert parts.degrees == pytest.approx(1 / (share / degrees + (1 - share) / 3))


def test_an_effect_is_a_t_interval():
    found, parts = effect([ADDED]), parts_of([ADDED])
    half = quantile(parts.degrees) * np.sqrt(parts.variance)
    assert (found.low, found.high) == pytest.approx((6 - half, 6 + half))
    assert found.p == pytest.approx(two_sided_p(6 / np.sqrt(parts.variance), parts.degrees))
    assert effect([-ADDED]).value == -6 and effect([-ADDED]).p == pytest.approx(found.p)


def test_few_seeds_that_differ_make_a_wide_interval():
    """The bootstrap never left the range of the seeds, here -.5 to 1."""
    values = np.repeat([[1.0], [-0.5]], 100, axis=1)
    found = effect([values])
    assert found.degrees == pytest.approx(1)
    assert found.high - found.value == pytest.approx(12.706 * 0.75, rel=1e-4)


def test_one_seed_leaves_the_interval_of_its_images():
    values = RNG.normal(size=(1, 50))
    found = effect([values])
    assert found.degrees == pytest.approx(49)
    half = quantile(49) * values.std(ddof=1) / np.sqrt(50)
    assert found.high - found.value == pytest.approx(half)
    assert effect([values, np.zeros((3, 50))]) == found
    assert (parts_of([values]).of_seeds, parts_of([values]).seeds) == ((), ())


def test_values_without_any_spread():
    assert effect([np.ones((3, 4))]) == Effect(value=1, low=1, high=1, p=0, degrees=1)
    assert effect([np.zeros((3, 4))]).p == 1
    assert t_interval(2.0, 0.0, 7) == Effect(value=2, low=2, high=2, p=0, degrees=7)


def test_two_images_have_an_interval():
    found = effect([np.array([[1.0, 3.0]])])
    assert (found.value, found.degrees) == (2, 1)
    assert found.high - found.value == pytest.approx(12.706, abs=1e-3)


def test_one_image_has_no_interval():
    with pytest.raises(UserError, match="needs two or more images, and there are 1"):
        effect([np.ones((3, 1))])


def test_influences_are_those_of_the_linear_approximation():
    counts = RNG.integers(5, 15, size=(400, 2)).astype(float)
    ratio = counts[:, 0].sum() / counts[:, 1].sum()
    found = influences(Pooled(counts, lambda sums: sums[:, 0] / sums[:, 1]))
    linear = ratio + (counts[:, 0] - ratio * counts[:, 1]) / counts[:, 1].mean()
    assert found.mean() == pytest.approx(ratio, rel=1e-12)
    assert found == pytest.approx(linear, abs=0.01)


def test_influences_of_a_mean_are_its_values():
    values = RNG.normal(size=(30, 1))
    mean = Pooled(np.c_[values, np.ones(30)], lambda sums: sums[:, 0] / sums[:, 1])
    assert influences(mean) == pytest.approx(values[:, 0])
