"""The table of docs/claims.md on how often intervals cover the truth, by simulation.

    python -m dsacap.reporting.coverage           # a few minutes

Values of a known mean are drawn by the model of `dsacap.scoring.random_effects`, and it is counted
how often the 95 % intervals of several estimators contain that mean: the intervals of the claims,
Satterthwaite's, and those of the bootstrap that the claims had before. Everything is drawn from a
generator with a fixed seed.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dsacap.common.files import read_text, write_text
from dsacap.reporting.pipe_table import markdown
from dsacap.scoring.random_effects import Parts, parts_of, two_sided_p
from dsacap.scoring.statistics import bootstrap_seeds_interval

PAGE = Path("docs/claims.md")
SEEDS = (2, 3, 5)
RATIOS = (0, 0.25, 1, 4, 16, 100)  # variance of a seed's mean / variance of the images' mean
_IMAGES = 100
_LEVEL = 0.05
_NORMAL = 1.95  # a little less than the normal quantile
_PLACE = re.compile(
    r"(<!-- coverage: written by python -m dsacap\.reporting\.coverage -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)
Groups = Sequence[np.ndarray]


def coverage(
    covers: Callable[[Groups], bool],
    seeds: int,
    ratio: float,
    groups: int = 1,
    runs: int = 4000,
    seed: int = 0,
) -> float:
    """Return the share of simulated runs in which an interval covers the true effect, which is 0.

    Args:
        covers: Whether the interval of the values of one run covers 0.
        seeds: The number of seeds of each group.
        ratio: The variance of a seed's mean over that of the images' mean.
        groups: 1 if seeds are paired, otherwise 2, of which each has half of the seeds' variance.
        runs: How many runs are simulated.
        seed: The seed of the simulation; every combination of the others has draws of its own.
    """
    rng = np.random.default_rng([seed, seeds, groups, int(100 * ratio)])
    of_seeds = np.sqrt(ratio / _IMAGES / groups)
    covered = 0
    for _ in range(runs):
        image_I = rng.normal(size=_IMAGES) / groups
        drawn = [
            of_seeds * rng.normal(size=(seeds, 1)) + image_I + rng.normal(size=(seeds, _IMAGES))
            for _ in range(groups)
        ]
        covered += covers(drawn)
    return covered / runs


def by_claims(groups: Groups) -> bool:
    """Return whether the interval of the claims covers 0."""
    parts = parts_of(groups)
    return _within(parts, parts.degrees)


def by_satterthwaite(groups: Groups) -> bool:
    """Return whether Satterthwaite's interval covers 0."""
    parts = parts_of(groups)
    squares = sum(v**2 / (n - 1) for v, n in zip(parts.of_seeds, parts.seeds, strict=True))
    squares += parts.of_images**2 / (parts.images - 1)
    return _within(parts, parts.variance**2 / squares)


def by_bootstrap(groups: Groups) -> bool:
    """Return whether the percentile bootstrap of seeds and images covers 0."""
    low, high = bootstrap_seeds_interval(groups[0], resamples=400)
    return low <= 0 <= high


def table(runs: int = 4000) -> str:
    """Return the coverage of the estimators as a Markdown table, in percent."""
    rows = []
    for seeds in SEEDS:
        for ratio in RATIOS:
            shares = [
                coverage(by_bootstrap, seeds, ratio, runs=max(1, runs // 8)),
                coverage(by_satterthwaite, seeds, ratio, runs=runs),
                coverage(by_claims, seeds, ratio, runs=runs),
                coverage(by_claims, seeds, ratio, groups=2, runs=runs),
            ]
            rows.append([str(seeds), f"{ratio:g}", *(f"{100 * share:.1f}" for share in shares)])
    headers = ["Seeds", "Seeds / images", "Bootstrap", "Satterthwaite"]
    return markdown([*headers, "Claims, paired seeds", "Claims, separate seeds"], rows)


def update(page: Path = PAGE, runs: int = 4000) -> None:
    """Write the table to its place in a page."""
    text = table(runs)
    filled = _PLACE.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", read_text(page))
    write_text(page, filled)


def _within(parts: Parts, degrees: float) -> bool:
    t = abs(parts.value) / np.sqrt(parts.variance)
    # No t interval is narrower than the normal one, so most runs need no p, which takes longest.
    return t < _NORMAL or two_sided_p(t, degrees) >= _LEVEL


if __name__ == "__main__":
    update()
