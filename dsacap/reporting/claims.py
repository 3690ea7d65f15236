"""claims.md: the paper's claims, each as comparisons of two rows that can fail, with the verdicts.

It is made from result files alone. A test states that one row has more of a metric than another.
Rows are compared image by image and seed by seed. The metric can be

- any metric with a score per image: quality, or diversity of the captions of an image;
- `reconstruction` and `judged_reconstruction`;
- `late_minus_early`, how much better the second half of a caption is than the first, and
  `recovery`, how much worse a caption continues a wrong beginning than the right one (both are
  below 0 if errors accumulate);
- `images_per_s`, at the first batch size, which is compared round by round.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing, write_text
from dsacap.config.sections import Claim, Comparison, Row
from dsacap.reporting.cells import labels_of
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
SPEED = "images_per_s"
_ALONG = ("late_minus_early", "recovery")
# Shown as percentages, as scores are.
_SHARES = (*_ALONG, "reconstruction", "judged_reconstruction")


@dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    Attributes:
        better: The mean of the row that should be better.
        worse: The mean of the other row.
        effect: Their difference; for speed, their ratio.
        low: The lower end of the effect's 95 % interval.
        high: The upper end.
        seeds: The number of seeds compared.
        images: The number of images compared; for speed, of rounds.
        verdict: SUPPORTED, CONTRADICTED or UNDECIDED.
    """

    better: float
    worse: float
    effect: float
    low: float
    high: float
    seeds: int
    images: int
    verdict: str


def write_claims(layout: Layout) -> None:
    """Write claims.csv and, last, claims.md.

    Raises:
        UserError: The configuration has no claims, or a claim names a metric that its rows lack.
    """
    claims = _claims(layout)
    found = {name: [_test(layout, test) for test in claim.tests] for name, claim in claims.items()}
    records = [
        {
            "claim": name,
            "says": claims[name].says,
            "verdict_of_claim": verdict(findings),
            "metric": test.metric,
            "better": _named(test.better),
            "worse": _named(test.worse),
            "better_label": _labelled(layout, test.better),
            "worse_label": _labelled(layout, test.worse),
            **{
                f"value_of_{key}" if key in ("better", "worse") else key: value
                for key, value in vars(finding).items()
            },
        }
        for name, findings in found.items()
        for test, finding in zip(claims[name].tests, findings, strict=True)
    ]
    with replacing(layout.claims.with_suffix(".csv")) as temporary:
        pd.DataFrame(records).to_csv(temporary, index=False)
    rows = layout.ablation_table if layout.config.judge else layout.table
    parts = [
        f"# {layout.config.name}: which of the paper's claims hold",
        "Each test states that the first row has more of a metric than the second. The interval"
        " (95 %) is a bootstrap of paired differences over seeds and images. A test is supported"
        " if the interval is above 0 and not supported if it is below 0; otherwise, with one seed,"
        " or if no image can be compared (nan), it is undecided. A claim is supported if all of"
        " its tests are, and not supported if one is not. For speed, the effect is a ratio, on one"
        f" machine. The rows, and how they were made: {rows.name}.",
        markdown(
            ["Claim", "Verdict"],
            [[f"{name}: {claim.says}", verdict(found[name])] for name, claim in claims.items()],
        ),
    ]
    for name, claim in claims.items():
        parts += [
            f"## {name}: {verdict(found[name])}",
            claim.says,
            _findings_table(claim.tests, found[name]),
        ]
    tests = [test for claim in claims.values() for test in claim.tests]
    if along := [test for test in tests if test.metric in _ALONG]:
        parts += ["## Quality along the caption", along_the_caption(layout, along)]
    if diverse := [test for test in tests if test.metric in DIVERSITY]:
        parts += ["## Quality against diversity", quality_against_diversity(layout, diverse)]
    write_text(layout.claims, "\n\n".join(parts) + "\n")


def _claims(layout: Layout) -> dict[str, Claim]:
    if layout.config.ablation is None:
        raise UserError(
            f"{layout.config.name}: the configuration has no section `ablation`, so there are no"
            " claims to test"
        )
    return layout.config.ablation.claims


def verdict(findings: list[Finding]) -> str:
    """Return the verdict on a claim from those on its tests."""
    verdicts = {finding.verdict for finding in findings}
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED


def _test(layout: Layout, test: Comparison) -> Finding:
    if test.metric == SPEED:
        return _speed(layout, test)
    shared = [
        seed
        for seed in layout.config.seeds
        if {(test.better.system, seed), (test.worse.system, seed)} <= set(layout.runs)
    ]
    better_SI, worse_SI = (
        _values(layout, row, test.metric, shared) for row in (test.better, test.worse)
    )
    # An image may lack a value: captions of a few words have no early and late half.
    images = better_SI.columns.intersection(worse_SI.columns)
    if images.empty:
        nan = float("nan")
        return Finding(nan, nan, nan, nan, nan, len(shared), 0, UNDECIDED)
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
    """Compare the rounds of timing on one machine; every row is timed in every round."""
    size = layout.config.timing.batch_sizes[0]
    ms = {
        (r["system"], r["decoding"]): r["ms"]
        for r in read_json(layout.latency)["rows"]
        if r["batch_size"] == size
    }
    a, b = (np.array(ms[row.system, row.decoding]) for row in (test.better, test.worse))
    low, high = np.exp(bootstrap_seeds_interval(np.log(b / a)[None]))
    faster, slower = (1000 * size / np.median(times) for times in (a, b))
    return Finding(
        faster,
        slower,
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
    """A row's values in the units of the tables, seeds by images."""
    by_seed = {seed: _per_image(layout, row, seed, metric) for seed in seeds}
    scale = 100 if metric in _SHARES else scale_of(metric)
    return pd.DataFrame.from_dict(by_seed, orient="index").dropna(axis="columns") * scale


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
            f"ablation.claims: {_named(row)} has no {metric} per image; name a metric that this"
            " decoding has"
        )
    return scores


def _where_defined(values: dict[str, float | None]) -> dict[str, float]:
    return {image: value for image, value in values.items() if value is not None}


def _named(row: Row) -> str:
    return f"{row.system}, {row.decoding}"


def _labelled(layout: Layout, row: Row) -> str:
    return f"{labels_of(layout.config)[row.system]} ({row.decoding})"


def _findings_table(tests: tuple[Comparison, ...], findings: list[Finding]) -> str:
    rows = [
        [
            f"{test.metric}: {_named(test.better)}",
            f"{finding.better:.3f}",
            _named(test.worse),
            f"{finding.worse:.3f}",
            f"{finding.effect:+.3f}" if test.metric != SPEED else f"x{finding.effect:.2f}",
            f"{finding.low:.3f} to {finding.high:.3f}",
            f"{'-' if test.metric == SPEED else finding.seeds} / {finding.images}",
            finding.verdict,
        ]
        for test, finding in zip(tests, findings, strict=True)
    ]
    headers = ["More of", "value", "than", "value", "effect", "95 % interval"]
    return markdown([*headers, "seeds / images", "verdict"], rows)
