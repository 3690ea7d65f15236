"""What a test of a claim finds, from result files alone.

A test of two rows states that one has more of a metric than the other. The metric can be

- any metric with a score per image: quality, or diversity of the captions of an image;
- `reconstruction`, `contrast`, and both by the judge's generator (`judged_...`), unless that judge
  ranks human captions below a row (`gate.py`);
- `right_after_wrong` and `right_after_right`, the share of right trigrams in what a captioner makes
  of a wrong and of a right beginning;
- `images_per_s`, which is compared round by round.

A test at the same diversity compares interpolated CIDEr (`same_diversity.py`). Which of seeds and
images are paired, and why, is in docs/claims.md; the intervals are those of
`dsacap.scoring.random_effects`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import exp, nan
from typing import Any

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.config.claims import (
    CONTINUATIONS,
    RECONSTRUCTIONS,
    SPEED,
    AtSameDiversity,
    Comparison,
    Dial,
)
from dsacap.config.experiment import Config
from dsacap.config.sections import Row
from dsacap.reporting.claim_tables import references_of
from dsacap.reporting.gate import failure_of, reconstruction_scores
from dsacap.reporting.same_diversity import Extrapolated, cider_at, mean_cider
from dsacap.reporting.units import scale_of
from dsacap.runs.layout import Layout
from dsacap.scoring.metrics.accumulation import share_right
from dsacap.scoring.random_effects import effect

_TOO_FEW = {1: "one seed", 2: "two seeds"}  # for a verdict


@dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    Attributes:
        better: The mean of the row that should be better.
        worse: The mean of the other row.
        effect: Their difference; for speed, their ratio.
        low: The lower end of the effect's 95 % interval.
        high: The upper end.
        p: Two-sided p of no effect, uncorrected; nan if there can be no verdict.
        seeds: The number of seeds of the row that has fewer.
        images: The number of images compared; for speed, of rounds.
        over: What the interval is over.
        reason: Why there can be no verdict, or None.
    """

    better: float
    worse: float
    effect: float
    low: float
    high: float
    p: float
    seeds: int
    images: int
    over: str
    reason: str | None = None


def measure(layout: Layout, test: Comparison | AtSameDiversity) -> Finding:
    """Return what a test finds.

    Raises:
        UserError: The test names a metric that its rows lack.
    """
    if isinstance(test, Comparison) and test.metric == SPEED:
        return _speed(layout, test)
    try:
        better_SI, worse_SI = (_values(layout, test, side) for side in (test.better, test.worse))
    except Extrapolated as reason:
        return _nothing(layout, test, 0, str(reason))
    # An image may lack a value: not every image has two beginnings that differ in one word.
    images = better_SI.columns.intersection(worse_SI.columns)
    if len(images) < 2:
        return _nothing(layout, test, len(images), "fewer than two images can be compared")
    paired = share_weights(layout.config, test.better.system, test.worse.system)
    if paired:
        shared = better_SI.index.intersection(worse_SI.index)
        better_SI, worse_SI = better_SI.loc[shared], worse_SI.loc[shared]
    a_SI, b_SI = better_SI[images].to_numpy(), worse_SI[images].to_numpy()
    found = effect([a_SI - b_SI] if paired else [a_SI, -b_SI])
    seeds = min(len(a_SI), len(b_SI))
    failure = failure_of(layout, test.metric)
    undecidable = failure.reason if failure else _TOO_FEW.get(seeds)
    over = "images" if seeds == 1 else f"{'paired' if paired else 'separate'} seeds, images"
    return Finding(
        a_SI.mean(),
        b_SI.mean(),
        found.value,
        found.low,
        found.high,
        nan if undecidable else found.p,
        seeds,
        len(images),
        over,
        undecidable,
    )


def share_weights(config: Config, one: str, other: str) -> bool:
    """Return whether systems with the same seed have something in common besides the number.

    They do if one is tuned from the other or distilled from it, or both from the same third one.
    """
    return bool(config.ancestors(one) & config.ancestors(other))


def _nothing(
    layout: Layout, test: Comparison | AtSameDiversity, images: int, reason: str
) -> Finding:
    seeds = min(len(layout.config.seeds_of(side.system)) for side in (test.better, test.worse))
    return Finding(nan, nan, nan, nan, nan, nan, seeds, images, "-", reason)


def _speed(layout: Layout, test: Comparison) -> Finding:
    """Compare the rounds of timing on one machine; every row is timed in every round.

    Speeds are geometric means over rounds, whose ratio is the effect.
    """
    size = test.batch_size or layout.config.timing.batch_sizes[0]
    ms = {
        (r["system"], r["decoding"]): r["ms"]
        for r in read_json(layout.latency)["rows"]
        if r["batch_size"] == size
    }
    a, b = (np.array(ms[row.system, row.decoding]) for row in test.rows)
    found = effect([np.log(b / a)[None]])
    faster, slower = (1000 * size / exp(np.log(times).mean()) for times in (a, b))
    ratio, low, high = (exp(value) for value in (found.value, found.low, found.high))
    return Finding(faster, slower, ratio, low, high, found.p, 1, len(a), "rounds")


def _values(layout: Layout, test: Comparison | AtSameDiversity, side: Row | Dial) -> pd.DataFrame:
    """Values of one side in the units of the tables, seeds by images."""
    by_seed: dict[int, Mapping[str, float]] = {}
    scale = 1
    for seed in layout.config.seeds_of(side.system):
        if isinstance(test, AtSameDiversity) and isinstance(side, Dial):
            if test.at is not None:
                by_seed[seed] = cider_at(layout, side, seed, test.at)
            elif test.between:
                by_seed[seed] = mean_cider(layout, side, seed, test.between)
        elif isinstance(side, Row):
            by_seed[seed] = _per_image(layout, side, seed, test.metric)
            shares = (*CONTINUATIONS, *RECONSTRUCTIONS)
            scale = 100 if test.metric in shares else scale_of(test.metric)
    return pd.DataFrame.from_dict(by_seed, orient="index").dropna(axis="columns") * scale


@cache  # several tests of a page need the same ones
def _per_image(layout: Layout, row: Row, seed: int, metric: str) -> Mapping[str, float]:
    if metric in CONTINUATIONS:
        references = references_of(layout)
        rest = read_json(layout.completions(row.system, seed))[row.decoding]
        of_image = rest[metric.removeprefix("right_")]
        return {i: share_right(text, references[i]) for i, text in of_image.items()}
    if metric in RECONSTRUCTIONS:
        return reconstruction_scores(layout, row, seed, metric)
    parts: dict[str, Any] = read_json(layout.scores(row.system, seed))[row.decoding]
    scores = (parts["quality"] | parts["diversity"]).get(metric, {}).get("per_image")
    if not scores:
        raise UserError(
            f"ablation.claims: {named(row)} has no {metric} per image; name a metric that this"
            " decoding has"
        )
    return scores


def named(side: Row | Dial) -> str:
    """Return the name of a row, or of the decodings that are interpolated between."""
    return f"{side.system}, {decodings_of(side)}"


def decodings_of(side: Row | Dial) -> str:
    """Return the name of the decoding of a row, or those of a dial."""
    return side.decoding if isinstance(side, Row) else " / ".join(side.decodings)


def tests_by_two_rows(
    tests: Iterable[Comparison | AtSameDiversity], metrics: Iterable[str]
) -> list[Comparison]:
    """Return the tests that compare two rows by one of some metrics."""
    return [test for test in tests if isinstance(test, Comparison) and test.metric in metrics]
