"""claims.md: the paper's claims, each with a test that can fail and decides, and the verdicts.

Every claim has a primary test, named in the configuration. It alone decides, by a p that is
corrected for the primary tests of the page (Holm 1979). `claim_tests.py` has what can be tested.
"""

from dataclasses import asdict, dataclass
from math import isnan, nan

import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import replacing, write_text
from dsacap.config.claims import (
    CONTINUATIONS,
    SPEED,
    AtSameDiversity,
    Claim,
    Comparison,
    Dial,
)
from dsacap.config.sections import Row
from dsacap.evaluation.comparison import LEVEL, holm
from dsacap.reporting.cells import labels_of
from dsacap.reporting.claim_tables import along_the_caption, quality_against_diversity
from dsacap.reporting.claim_tests import (
    Finding,
    decodings_of,
    measure,
    named,
    tests_by_two_rows,
)
from dsacap.reporting.gate import failure_of
from dsacap.reporting.pipe_table import markdown
from dsacap.runs.layout import Layout

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "not supported", "undecided"
NOT_BY_NOISE = f"{SUPPORTED}, not by noise"
PRIMARY, SECONDARY, CONTROL = "primary", "secondary", "control"
_EXPLAINED = (
    "A test states that the first row has more of a metric than the second. The primary test of a"
    " claim decides on it; it is supported, or not supported, if p is below .05 after Holm's"
    " correction for the primary tests of this page and the effect has the sign that is claimed, or"
    " the other one. With fewer than three seeds it is undecided. Secondary tests and those of a"
    " control without noise decide nothing, and their p is not corrected; a supported claim whose"
    " control passes the primary test as well holds, but not by noise. Intervals (95 %) are over"
    " seeds and images as random effects, for speed over rounds on one machine, where the effect is"
    " a ratio. A judge of reconstructions decides nothing if it ranks human captions below those of"
    " a row that it compares."
)


@dataclass(frozen=True)
class Result:
    """A claim's tests with what they found, and the verdict on it.

    Attributes:
        claim: The claim.
        findings: (test, its role, its finding); the primary test first.
        p_holm: The corrected p of the primary test; nan if there can be no verdict.
    """

    claim: Claim
    findings: tuple[tuple[Comparison | AtSameDiversity, str, Finding], ...]
    p_holm: float

    @property
    def verdict(self) -> str:
        """The verdict on the claim."""
        if not self.p_holm < LEVEL:
            return UNDECIDED
        if not _as_claimed(self.findings[0][2]):
            return CONTRADICTED
        control = next((found for _, role, found in self.findings if role == CONTROL), None)
        passes = control and control.p < LEVEL and _as_claimed(control)
        return NOT_BY_NOISE if passes else SUPPORTED

    @property
    def reasoned(self) -> str:
        """The verdict, with the reason why there is none where it is not p."""
        reason = self.findings[0][2].reason
        return f"{self.verdict}: {reason}" if reason else self.verdict


def write_claims(layout: Layout) -> None:
    """Write claims.csv and, last, claims.md.

    Raises:
        UserError: The configuration has no claims, or a claim names a metric that its rows lack.
    """
    results = _results(layout)
    records = [
        _record(layout, name, result, *finding)
        for name, result in results.items()
        for finding in result.findings
    ]
    with replacing(layout.claims.with_suffix(".csv")) as temporary:
        pd.DataFrame(records).astype({"batch_size": "Int64"}).to_csv(temporary, index=False)
    rows = layout.ablation_table if layout.config.judge else layout.table
    parts = [
        f"# {layout.config.name}: which of the paper's claims hold",
        f"{_EXPLAINED} The rows, and how they were made: {rows.name}.",
        markdown(
            ["Claim", "Verdict"],
            [[f"{name}: {result.claim.says}", result.reasoned] for name, result in results.items()],
        ),
    ]
    tests = [test for result in results.values() for test in result.claim.tests]
    metrics = dict.fromkeys(test.metric for test in tests)
    parts += [failed.sentence for metric in metrics if (failed := failure_of(layout, metric))]
    for name, result in results.items():
        parts += [f"## {name}: {result.reasoned}", result.claim.says, _findings_table(result)]
    if along := tests_by_two_rows(tests, CONTINUATIONS):
        parts += ["## Quality along the caption", along_the_caption(layout, along)]
    if diverse := [test for test in tests if isinstance(test, AtSameDiversity)]:
        parts += ["## Quality against diversity", quality_against_diversity(layout, diverse)]
    write_text(layout.claims, "\n\n".join(parts) + "\n")


def _results(layout: Layout) -> dict[str, Result]:
    if layout.config.ablation is None:
        raise UserError(
            f"{layout.config.name}: the configuration has no section `ablation`, so there are no"
            " claims to test"
        )
    claims = layout.config.ablation.claims
    found = {name: _findings(layout, claim) for name, claim in claims.items()}
    decidable = {
        name: findings[0][2].p for name, findings in found.items() if not isnan(findings[0][2].p)
    }
    corrected = dict(zip(decidable, holm(list(decidable.values())), strict=True))
    return {
        name: Result(claim, found[name], corrected.get(name, nan)) for name, claim in claims.items()
    }


def _findings(
    layout: Layout, claim: Claim
) -> tuple[tuple[Comparison | AtSameDiversity, str, Finding], ...]:
    roles = [(claim.primary, PRIMARY), *((test, SECONDARY) for test in claim.secondary)]
    roles += [(test, CONTROL) for test in claim.controls]
    return tuple((test, role, measure(layout, test)) for test, role in roles)


def _as_claimed(finding: Finding) -> bool:
    return finding.better > finding.worse


def _record(
    layout: Layout,
    name: str,
    result: Result,
    test: Comparison | AtSameDiversity,
    role: str,
    finding: Finding,
) -> dict[str, object]:
    """A row of claims.csv."""
    values = {
        f"value_of_{key}" if key in ("better", "worse") else key: value
        for key, value in asdict(finding).items()
    }
    return {
        "claim": name,
        "says": result.claim.says,
        "verdict_of_claim": result.verdict,
        "role": role,
        "metric": test.metric,
        "batch_size": test.batch_size if isinstance(test, Comparison) else None,
        "better": named(test.better),
        "worse": named(test.worse),
        "better_label": _labelled(layout, test.better),
        "worse_label": _labelled(layout, test.worse),
        **values,
        "p_holm": result.p_holm if role == PRIMARY else nan,
        "verdict": result.verdict if role == PRIMARY else role,
    }


def _labelled(layout: Layout, side: Row | Dial) -> str:
    return f"{labels_of(layout.config)[side.system]} ({decodings_of(side)})"


def _findings_table(result: Result) -> str:
    rows = []
    for test, role, found in result.findings:
        is_ratio = test.metric == SPEED
        batch = test.batch_size if isinstance(test, Comparison) else None
        rows.append(
            [
                role,
                f"{test.metric}{f' (batch {batch})' if batch else ''}: {named(test.better)}",
                f"{found.better:.3f}",
                named(test.worse),
                f"{found.worse:.3f}",
                f"x{found.effect:.2f}" if is_ratio else f"{found.effect:+.3f}",
                f"{found.low:.3f} to {found.high:.3f}",
                f"{'-' if is_ratio else found.seeds} / {found.images}",
                found.over,
                _p(found.p),
                _p(result.p_holm) if role == PRIMARY else "-",
            ]
        )
    headers = ["Test", "More of", "value", "than", "value", "effect", "95 % interval"]
    return markdown([*headers, "seeds / images", "interval over", "p", "p (Holm)"], rows)


def _p(p: float) -> str:
    if isnan(p):
        return "-"
    return f"{p:.3f}" if p >= 0.001 else "< .001"
