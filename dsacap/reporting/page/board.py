"""The leaderboard of the page: rows with their scores and intervals, the best of a column marked.

A row ties with the best one of a column if its value lies within the 95 % interval of the best.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Attributes:
        metric: The metric, as in table.csv.
        title: The head of the column.
        digits: How many digits are shown after the point.
        higher: Whether higher is better.
    """

    metric: str
    title: str
    digits: int = 1
    higher: bool = True


@dataclass(frozen=True)
class Cell:
    """A score.

    Attributes:
        value: The score, scaled as in tables.
        low: Lower end of its 95 % interval, if it has one.
        high: Upper end of it.
        mark: "best" of its column, "tie" with the best, or empty.
    """

    value: float
    low: float | None = None
    high: float | None = None
    mark: str = ""


Row = tuple[dict[str, Any], dict[str, Cell]]  # names of a row, and its scores by metric

QUALITY = (
    Column("CIDEr", "CIDEr"),
    Column("SPICE", "SPICE"),
    Column("BLEU-4", "BLEU-4"),
    Column("METEOR", "METEOR"),
    Column("ROUGE-L", "ROUGE-L"),
    Column("true", "true (%)"),
    Column("mBLEU-4", "mBLEU-4 ↓", 3, False),
)


def board(
    rows: Sequence[Row], columns: Sequence[Column], notes: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Return a leaderboard as plain data, the row that is best in the first column first.

    Args:
        rows: The rows: system, label, decoding, and whether it is the first one of its system.
        columns: The columns; those in which no row has a score are left out.
        notes: What has to be known to read it.
    """
    shown = [column for column in columns if any(column.metric in cells for _, cells in rows)]
    if not shown:
        return None
    marked = {column.metric: _marked(rows, column) for column in shown}
    first = marked[shown[0].metric]
    sign = -1 if shown[0].higher else 1
    unknown = float("inf")
    order = sorted(
        range(len(rows)), key=lambda at: sign * cell.value if (cell := first[at]) else unknown
    )
    best = {rows[at][0]["system"]: at for at in reversed(order)}
    return {
        "columns": [asdict(column) for column in shown],
        "rows": [
            {
                **rows[at][0],
                "best": best[rows[at][0]["system"]] == at,
                "cells": [
                    asdict(cell) if (cell := marked[column.metric][at]) else None
                    for column in shown
                ],
            }
            for at in order
        ],
        "notes": list(notes),
    }


def _marked(rows: Sequence[Row], column: Column) -> list[Cell | None]:
    cells = [cells.get(column.metric) for _, cells in rows]
    sign = 1 if column.higher else -1
    if len(cells) == 1:
        return list(cells)  # one row is best of nothing
    best = max((cell for cell in cells if cell), key=lambda cell: sign * cell.value)
    return [cell and Cell(cell.value, cell.low, cell.high, _mark(cell, best)) for cell in cells]


def _mark(cell: Cell, best: Cell) -> str:
    if cell.value == best.value:
        return "best"
    if best.low is None or best.high is None:
        return ""
    return "tie" if best.low <= cell.value <= best.high else ""
