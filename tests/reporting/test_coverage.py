"""The simulation of how often intervals cover the truth, in a quick form, and its table."""

import numpy as np
import pytest

from dsacap.common.git_checkout import ROOT
from dsacap.reporting.coverage import (
    PAGE,
    RATIOS,
    SEEDS,
    by_bootstrap,
    by_claims,
    by_satterthwaite,
    coverage,
    update,
)


@pytest.mark.parametrize(
    ("seeds", "ratio", "groups"), [(3, 0.25, 1), (3, 16, 1), (3, 4, 2), (5, 4, 1)]
)
def test_intervals_of_the_claims_cover_as_often_as_they_say(seeds, ratio, groups):
    assert 0.93 <= coverage(by_claims, seeds, ratio, groups, runs=500) <= 0.98


def test_other_estimators_cover_less_where_seeds_vary():
    bootstrap = coverage(by_bootstrap, seeds=2, ratio=100, runs=30)
    satterthwaite, claims = (
        coverage(covers, seeds=2, ratio=16, runs=200) for covers in (by_satterthwaite, by_claims)
    )
    assert bootstrap < 0.8 and satterthwaite < claims


def test_an_interval_that_forgets_the_seeds_covers_far_less():
    def by_images(groups):
        of_image = np.mean(groups[0], axis=0)
        return abs(of_image.mean()) <= 1.96 * of_image.std() / np.sqrt(len(of_image))

    assert coverage(by_images, seeds=3, ratio=16, runs=100) < 0.8


def test_the_table_of_the_documentation_keeps_its_promise():
    lines = (ROOT / PAGE).read_text().split("<!-- coverage:")[1].split("<!-- end -->")[0]
    rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in lines.splitlines()[4:-1]]
    assert [row[:2] for row in rows] == [[seeds, ratio] for seeds in SEEDS for ratio in RATIOS]
    for seeds, _, _, _, paired, separate in rows:
        assert seeds == 2 or (93 <= paired <= 97 and 93 <= separate <= 97)


def test_the_table_is_written_to_its_place(tmp_path):
    page = tmp_path / "page.md"
    place = "<!-- coverage: written by python -m dsacap.reporting.coverage -->\n"
    page.write_text(f"before\n{place}old<!-- end -->\nafter\n")
    update(page, runs=2)
    text = page.read_text()
    assert text.startswith(f"before\n{place}\n| ") and text.endswith("|\n\n<!-- end -->\nafter\n")
    assert "old" not in text and text.count("\n|") == 2 + len(SEEDS) * len(RATIOS)
