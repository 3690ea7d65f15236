"""The leaderboard of the page: rows with their scores and intervals, the best of a column marked.

A row ties with the best one of a column if its value lies within the 95 % interval of the best.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dsacap.reporting.cells import OWN_ENCODER, STILL_RISING, rows_of
from dsacap.reporting.published_figures import MEASURES, reported_on
from dsacap.reporting.table_file import Table


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


def board_of(table: Table) -> dict[str, Any] | None:
    """Return the leaderboard of a table as plain data; None if no row has a score."""
    config = table.experiment
    size = config.timing.batch_sizes[0]
    images = "image" if size == 1 else f"{size} images"
    latency = Column(f"latency_median_ms_batch_{size}", f"ms per {images} ↓", 1, False)
    columns = (*QUALITY, latency)
    rows: list[Row] = []
    for system, decoding, label in rows_of(table):
        first = system not in {row["system"] for row, _ in rows}
        names = {"system": system, "label": label, "decoding": decoding, "first": first}
        cells = {c.metric: cell for c in columns if (cell := _cell(table, system, decoding, c))}
        if "CIDEr" in cells or "BLEU-4" in cells:
            rows.append((names, cells))
    notes = [note for note in (STILL_RISING, OWN_ENCODER) if _has(rows, note[0])]
    return board(rows, columns, notes)


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


def reported(table: Table) -> dict[str, Any] | None:
    """Return the figures that others report on the data set of a table, as text, or None."""
    config = table.experiment
    if not config.published or not (found := reported_on(config.published, config.name)):
        return None
    keys = {"model": "Model", "source": "Source", "read": "Read"}
    measures = [name for name in MEASURES if any(name in one["figures"] for one in found)]
    return {
        "columns": [*keys.values(), *measures],
        "rows": [
            [*(one[key] for key in keys), *(one["figures"].get(name, "-") for name in measures)]
            for one in found
        ],
    }


def _cell(table: Table, system: str, decoding: str, column: Column) -> Cell | None:
    found = table.rows(system, decoding, column.metric)
    if found.empty:
        return None
    value, low, high = (float(found[name].mean()) for name in ("value", "ci_low", "ci_high"))
    return Cell(value) if found.ci_low.isna().any() else Cell(value, low, high)


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


def _has(rows: Sequence[Row], sign: str) -> bool:
    return any(sign in row["label"] for row, _ in rows)
