"""The leaderboard of a table, and the figures that others report beside it."""

from collections.abc import Sequence
from typing import Any

from dsacap.reporting.cells import OWN_ENCODER, STILL_RISING, rows_of
from dsacap.reporting.page.board import QUALITY, Cell, Column, Row, board
from dsacap.reporting.published_figures import MEASURES, reported_on
from dsacap.reporting.table_file import Table


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


def _has(rows: Sequence[Row], sign: str) -> bool:
    return any(sign in row["label"] for row, _ in rows)
