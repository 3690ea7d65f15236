"""Comparison of computed cells with committed ones: equal, different, or not computed, and why."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dsacap.audit.chain import is_quality
from dsacap.audit.text import wrapped
from dsacap.runs.stage_table import VERSIONS
from dsacap.verification.committed import Cell, Committed, Numbers
from dsacap.verification.scoring import Scored

# Tolerances for tables made by an earlier version of the stage `score`, whose last digits depended
# on the processor. Its Self-CIDEr took square roots of eigenvalues that are zero up to rounding;
# differences of 3e-9 were measured.
RELATIVE = 1e-12
SELF_CIDER = 1e-8
_SHOWN = 8


@dataclass(frozen=True)
class Outcome:
    """The result of comparing the quality cells of one table."""

    same: int  # cells that are equal to the last bit
    rounded: int  # cells of an earlier version that are equal up to its rounding
    # The cells that differ, with the committed and the computed numbers (None: not computed).
    differ: list[tuple[Cell, Numbers, Numbers | None]]
    not_computed: Mapping[str, int]  # reason -> cells that could not be computed

    @property
    def total(self) -> int:
        """The number of quality cells in the table."""
        compared = self.same + self.rounded + len(self.differ)
        return compared + sum(self.not_computed.values())


def compare(committed: Committed, scored: Iterable[Scored]) -> Outcome:
    """Compare the quality cells of a table with the scores of its captions.

    Args:
        committed: The table.
        scored: The scores of those of its rows that could be scored.
    """
    by_row = {row.row: row for row in scored}
    same, rounded = 0, 0
    differ: list[tuple[Cell, Numbers, Numbers | None]] = []
    reasons: Counter[str] = Counter()
    for cell, numbers in committed.cells().items():
        of_row = by_row.get(cell.row)
        found = of_row.numbers.get(cell.metric) if of_row else None
        is_earlier = committed.scored_by(cell.row) != VERSIONS["score"]
        if of_row is None:
            reasons["no captions of their rows are committed"] += 1
        elif found == numbers:
            same += 1
        elif found and is_earlier and is_within_rounding(cell.metric, numbers, found):
            rounded += 1
        elif found is None and "SPICE" in cell.metric and of_row.no_spice:
            reasons[f"SPICE, {of_row.no_spice}"] += 1
        else:
            differ.append((cell, numbers, found))
    return Outcome(same, rounded, differ, reasons)


def is_within_rounding(metric: str, committed: Numbers, computed: Numbers) -> bool:
    """Return whether numbers are equal up to the rounding of an earlier version."""
    absolute = SELF_CIDER if metric == "Self-CIDEr" else 0.0
    if committed.n != computed.n:
        return False
    return all(
        a == b if a is None or b is None else math.isclose(a, b, rel_tol=RELATIVE, abs_tol=absolute)
        for a, b in zip(committed[:3], computed[:3], strict=True)
    )


def render(committed: Committed, outcome: Outcome) -> str:
    """Return the printed report on a table."""
    counts = [f"{outcome.same} are equal to the last bit"]
    if outcome.rounded:
        counts.append(f"{outcome.rounded} within the rounding of an earlier version")
    counts.append(f"{len(outcome.differ)} differ")
    lines = [f"{committed.folder}: of {outcome.total} quality cells {', '.join(counts)}."]
    lines += [_differing(*numbers) for numbers in outcome.differ[:_SHOWN]]
    if more := len(outcome.differ[_SHOWN:]):
        lines.append(f"... and {more} more")
    lines += [f"{count} not computed: {reason}." for reason, count in outcome.not_computed.items()]
    if others := sum(not is_quality(metric) for metric in committed.table.numbers.metric):
        lines.append(f"{others} other cells (latency, memory, training) do not come from captions.")
    return "\n".join(
        [wrapped(lines[0], "  "), *(wrapped(f"  {line}", "    ") for line in lines[1:])]
    )


def _differing(cell: Cell, committed: Numbers, computed: Numbers | None) -> str:
    found = _shown(computed) if computed else "nothing"
    return f"{cell}: committed {_shown(committed)}, computed {found}"


def _shown(numbers: Numbers) -> str:
    interval = "" if numbers.ci_low is None else f" ({numbers.ci_low!r} to {numbers.ci_high!r})"
    return f"{numbers.value!r}{interval}" + ("" if numbers.n is None else f" of {numbers.n}")
