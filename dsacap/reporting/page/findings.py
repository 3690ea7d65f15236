"""What the claims came to, for the page: sentences, and the verdict on each claim with its tests.

They are generated from claims.csv. The sentence on a claim is that of its primary test, which
decides.
"""

import csv
import io
from collections.abc import Iterable
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import read_text
from dsacap.config.claims import SPEED
from dsacap.reporting.claims import PRIMARY, UNDECIDED
from dsacap.runs.layout import Layout

_SENTENCES = 3
_COLUMNS = (
    *("claim", "says", "verdict_of_claim", "role", "metric", "batch_size", "better_label"),
    *("worse_label", "value_of_better", "value_of_worse", "effect", "low", "high", "reason"),
    "verdict",
)
_IN_WORDS = {
    "true": "true captions (%)",
    "grammatical": "grammatical captions (%)",
    "reconstruction": "reconstruction of the image (%)",
    "judged_reconstruction": "reconstruction of the image, measured by the independent judge (%)",
    "contrast": "images told apart from similar ones (%)",
    "judged_contrast": "images told apart from similar ones, measured by the independent judge (%)",
    "right_after_wrong": "right trigrams after a wrong beginning (%)",
    "right_after_right": "right trigrams after a right beginning (%)",
    SPEED: "images per second",
}


def findings_of(layout: Layout) -> dict[str, Any] | None:
    """Return the sentences and the claims; None if no claims of this data set were tested.

    Raises:
        UserError: claims.csv was written by another version.
    """
    page, file = layout.claims, layout.claims.with_suffix(".csv")
    if not (page.exists() and file.exists()):
        return None
    if not read_text(page).startswith(f"# {layout.config.name}: "):
        return None  # of another configuration with the same folder of results
    rows = csv.DictReader(io.StringIO(read_text(file)))
    if absent := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise UserError(
            f"{file}: has no column {absent[0]!r}; write it again by `dsacap report-claims`"
        )
    return findings(list(rows))


def findings(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Return the sentences and the claims from the rows of claims.csv."""
    claims: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        claims.setdefault(row["claim"], []).append(row)
    decided = sorted(claims.values(), key=lambda tests: _verdict_of(tests) == UNDECIDED)
    primary = [row for tests in decided for row in _compared(tests) if row["role"] == PRIMARY]
    return {
        "sentences": [_sentence(row) for row in primary[:_SENTENCES]],
        "claims": [
            {
                "name": name,
                "says": tests[0]["says"],
                "verdict": _verdict_of(tests),
                "tests": [_sentence(row) for row in _compared(tests)],
            }
            for name, tests in claims.items()
        ],
    }


def _verdict_of(tests: list[dict[str, str]]) -> str:
    return tests[0]["verdict_of_claim"]


def _compared(tests: list[dict[str, str]]) -> Iterable[dict[str, str]]:
    """The tests in which some image could be compared."""
    return (test for test in tests if test["effect"] not in ("", "nan"))


def _sentence(test: dict[str, str]) -> str:
    metric = _IN_WORDS.get(test["metric"], test["metric"])
    metric += f" in batches of {test['batch_size']}" if test["batch_size"] else ""
    a, b, effect, low, high = (
        float(test[key]) for key in ("value_of_better", "value_of_worse", "effect", "low", "high")
    )
    digits = 1 if max(abs(a), abs(b)) >= 10 else 3
    if test["metric"] == SPEED:
        change = f"{effect:.2f} times as many (95 % interval {low:.2f} to {high:.2f})"
    else:
        interval = f"{low:+.{digits}f} to {high:+.{digits}f}"
        change = f"a difference of {effect:+.{digits}f} (95 % interval {interval})"
    compared = f"{test['better_label']} has {a:.{digits}f} and {test['worse_label']} {b:.{digits}f}"
    reason = f": {test['reason']}" if test["reason"] and test["role"] == PRIMARY else ""
    return f"{metric[0].upper()}{metric[1:]}: {compared}, {change}; {test['verdict']}{reason}."
