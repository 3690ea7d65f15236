"""claims.md: what the paper claims, each as a comparison of two rows that can fail, and how it came out. Reads result files only.

A test says that one row has more of a metric than another. What is compared, image by image and seed by seed: any metric with per-image
scores (quality, or diversity of the captions of an image), `reconstruction` and `judged_reconstruction`, `late_minus_early` (how much
better the second half of a caption is than its first) and `recovery` (how much worse it goes on from a wrong beginning than from the right
one); both are below 0 where errors accumulate. `images_per_s`, at the first batch size, is compared round by round.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing, write_text
from dsacap.config.sections import Comparison, Row
from dsacap.reporting.claim_tables import (
    DIVERSITY,
    along_the_caption,
    first_captions,
    quality_against_diversity,
    references_of,
)
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.table import scale_of
from dsacap.runs.layout import Layout
from dsacap.scoring.metrics.accumulation import late_minus_early, recovery
from dsacap.scoring.statistics import bootstrap_seeds_interval

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "not supported", "undecided"
_SPEED = "images_per_s"
_ALONG = ("late_minus_early", "recovery")
_SHARES = (
    *_ALONG,
    "reconstruction",
    "judged_reconstruction",
)  # shown as percentages, as scores are


@dataclass(frozen=True)
class Finding:
    """Of one test: means of both rows, the effect (their difference; of speed their ratio) with its 95 % interval, and the verdict."""

    better: float
    worse: float
    effect: float
    low: float
    high: float
    seeds: int
    images: int
    verdict: str


def write_claims(layout: Layout) -> None:
    """Writes claims.csv and, last, claims.md. UserError where a claim names a metric that its rows do not have."""
    found = {
        name: [_test(layout, test) for test in claim.tests]
        for name, claim in layout.config.ablation.claims.items()
    }
    records = [
        {
            "claim": name,
            "verdict_of_claim": verdict(findings),
            "metric": test.metric,
            "better": _named(test.better),
        }
        | {"worse": _named(test.worse)}
        | {
            f"value_of_{key}" if key in ("better", "worse") else key: value
            for key, value in vars(finding).items()
        }
        for name, findings in found.items()
        for test, finding in zip(layout.config.ablation.claims[name].tests, findings, strict=True)
    ]
    with replacing(layout.claims.with_suffix(".csv")) as temporary:
        pd.DataFrame(records).to_csv(temporary, index=False)
    rows = layout.ablation_table if layout.config.judge else layout.table
    parts = [
        f"# {layout.config.name}: what holds of the paper's claims",
        "Each test says that the first row has more of a metric than the second. The interval (95 %) is a bootstrap of paired differences "
        "over seeds and images; a test is supported where it lies above 0, not supported where it lies below, and undecided otherwise, "
        "with one seed, or where no image can be compared (nan). A claim is supported where all of its tests are, and not supported where "
        f"one is not. Of speed the effect is a ratio, on one machine. The rows, and how they were made: {rows.name}.",
        markdown(
            ["Claim", "Verdict"],
            [
                [f"{n}: {c.says}", verdict(found[n])]
                for n, c in layout.config.ablation.claims.items()
            ],
        ),
    ]
    for name, claim in layout.config.ablation.claims.items():
        parts += [
            f"## {name}: {verdict(found[name])}",
            claim.says,
            _tests(layout, claim.tests, found[name]),
        ]
    tests = [test for claim in layout.config.ablation.claims.values() for test in claim.tests]
    if along := [test for test in tests if test.metric in _ALONG]:
        parts += ["## Quality along the caption", along_the_caption(layout, along)]
    if diverse := [test for test in tests if test.metric in DIVERSITY]:
        parts += ["## Quality against diversity", quality_against_diversity(layout, diverse)]
    write_text(layout.claims, "\n\n".join(parts) + "\n")


def verdict(findings: list[Finding]) -> str:
    verdicts = {finding.verdict for finding in findings}
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED


def _test(layout: Layout, test: Comparison) -> Finding:
    if test.metric == _SPEED:
        return _speed(layout, test)
    shared = [
        seed
        for seed in layout.config.seeds
        if {(test.better.system, seed), (test.worse.system, seed)} <= set(layout.runs)
    ]
    better_SI, worse_SI = (
        _values(layout, row, test.metric, shared) for row in (test.better, test.worse)
    )
    images = better_SI.columns.intersection(
        worse_SI.columns
    )  # captions of a few words have no early and late
    if images.empty:
        return Finding(*[float("nan")] * 5, len(shared), 0, UNDECIDED)
    a_SI, b_SI = better_SI[images].to_numpy(), worse_SI[images].to_numpy()
    low, high = bootstrap_seeds_interval(a_SI - b_SI)
    seeds = len(a_SI)
    return Finding(
        a_SI.mean(),
        b_SI.mean(),
        (a_SI - b_SI).mean(),
        low,
        high,
        seeds,
        len(images),
        _verdict(low, high, 0, seeds > 1),
    )


def _speed(layout: Layout, test: Comparison) -> Finding:
    """The rounds of one process on one machine: no seed, and every row is timed in every round."""
    size = layout.config.timing.batch_sizes[0]
    ms = {
        (r["system"], r["decoding"]): r["ms"]
        for r in read_json(layout.latency)["rows"]
        if r["batch_size"] == size
    }
    a, b = (np.array(ms[row.system, row.decoding]) for row in (test.better, test.worse))
    low, high = np.exp(bootstrap_seeds_interval(np.log(b / a)[None]))
    per_s = [1000 * size / np.median(times) for times in (a, b)]
    return Finding(
        *per_s,
        float(np.exp(np.log(b / a).mean())),
        low,
        high,
        1,
        len(a),
        _verdict(low, high, 1, True),
    )


def _verdict(low: float, high: float, nothing: float, enough: bool) -> str:
    if not enough or low <= nothing <= high:
        return UNDECIDED
    return SUPPORTED if low > nothing else CONTRADICTED


def _values(layout: Layout, row: Row, metric: str, seeds: list[int]) -> pd.DataFrame:
    """Seeds by images, in the units of the tables."""
    by_seed = {seed: _per_image(layout, row, seed, metric) for seed in seeds}
    return pd.DataFrame.from_dict(by_seed, orient="index").dropna(axis="columns") * (
        100 if metric in _SHARES else scale_of(metric)
    )


def _per_image(layout: Layout, row: Row, seed: int, metric: str) -> dict[str, float]:
    if metric == "late_minus_early":
        references, captions = (
            references_of(layout),
            first_captions(layout, row.system, seed, row.decoding),
        )
        return _where_defined(
            {i: late_minus_early(caption, references[i]) for i, caption in captions.items()}
        )
    if metric == "recovery":
        references, rest = (
            references_of(layout),
            read_json(layout.completions(row.system, seed))[row.decoding],
        )
        wrong, right = rest["after_wrong"], rest["after_right"]
        return _where_defined({i: recovery(wrong[i], right[i], references[i]) for i in wrong})
    if metric.endswith("reconstruction"):
        return read_json(layout.reconstructions(row.system, seed))[row.decoding][metric]
    parts: dict[str, Any] = read_json(layout.scores(row.system, seed))[row.decoding]
    scores = (parts["quality"] | parts["diversity"]).get(metric, {}).get("per_image")
    if not scores:
        raise UserError(
            f"ablation.claims: {_named(row)} has no {metric} of each image; name a metric that its decoding has"
        )
    return scores


def _where_defined(values: dict[str, float | None]) -> dict[str, float]:
    return {image: value for image, value in values.items() if value is not None}


def _named(row: Row) -> str:
    return f"{row.system}, {row.decoding}"


def _tests(layout: Layout, tests: tuple[Comparison, ...], findings: list[Finding]) -> str:
    rows = [
        [
            f"{test.metric}: {_named(test.better)}",
            f"{finding.better:.3f}",
            _named(test.worse),
            f"{finding.worse:.3f}",
            f"{finding.effect:+.3f}" if test.metric != _SPEED else f"x{finding.effect:.2f}",
            f"{finding.low:.3f} to {finding.high:.3f}",
            f"{'-' if test.metric == _SPEED else finding.seeds} / {finding.images}",
            finding.verdict,
        ]
        for test, finding in zip(tests, findings, strict=True)
    ]
    return markdown(
        [
            "More of",
            "value",
            "than",
            "value",
            "effect",
            "95 % interval",
            "seeds / images",
            "verdict",
        ],
        rows,
    )
