"""What the claims came to, for the page: sentences, and the verdict on each claim with its tests.

They are generated from claims.csv. The sentence on a claim is that of the test which is hardest for
it, since a claim is supported only if all of its tests are.
"""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import read_text
from dsacap.reporting.claims import SPEED, UNDECIDED
from dsacap.runs.layout import Layout

_SENTENCES = 3
_COLUMNS = (
    *("claim", "says", "verdict_of_claim", "metric", "better_label", "worse_label"),
    *("value_of_better", "value_of_worse", "effect", "low", "high", "seeds", "verdict"),
)
_IN_WORDS = {
    "true": "true captions (%)",
    "grammatical": "grammatical captions (%)",
    "reconstruction": "reconstruction of the image (%)",
    "judged_reconstruction": "reconstruction of the image, measured by the independent judge (%)",
    "late_minus_early": "quality of the second half of captions minus that of the first (%)",
    "recovery": "recovery from a wrong beginning (%)",
    "Self-CIDEr": "diversity (Self-CIDEr)",
    "mBLEU-4": "likeness of the captions of an image (mBLEU-4)",
    "unique": "different captions of an image",
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
    hardest = [found for tests in decided if (found := _hardest(tests))]
    return {
        "sentences": [_sentence(row) for row in hardest[:_SENTENCES]],
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


def _compared(tests: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The tests in which some image could be compared."""
    return (test for test in tests if test["effect"] not in ("", "nan"))


def _hardest(tests: list[dict[str, str]]) -> dict[str, str] | None:
    """The test whose effect is the smallest for the width of its interval."""

    def strength(test: dict[str, str]) -> float:
        effect, low, high = (float(test[key]) for key in ("effect", "low", "high"))
        if test["metric"] == SPEED:  # a ratio
            effect, low, high = (math.log(value) for value in (effect, low, high))
        return effect / max(high - low, 1e-9)

    return min(_compared(tests), key=strength, default=None)


def _sentence(test: dict[str, str]) -> str:
    metric = _IN_WORDS.get(test["metric"], test["metric"])
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
    one_seed = ", as there is one seed" if _only_for_one_seed(test) else ""
    return f"{metric[0].upper()}{metric[1:]}: {compared}, {change}; {test['verdict']}{one_seed}."


def _only_for_one_seed(test: dict[str, str]) -> bool:
    """Return whether several seeds with the same interval would decide the test."""
    if test["verdict"] != UNDECIDED or test["metric"] == SPEED:
        return False
    return test["seeds"] == "1" and not float(test["low"]) <= 0 <= float(test["high"])
