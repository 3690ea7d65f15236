"""Figures that others report, from a file that records where each was read and how reliably.

They have a section of their own, apart from what was measured here. The file marks them V (read in
the source itself), V2 (in two sources that agree), A (in the abstract alone) or S (second-hand);
those marked A or S carry the mark in the table, too.
"""

import csv
import io
import re
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_text
from dsacap.reporting.pipe_table import markdown

_PLAIN, _MARKED = ("V", "V2"), ("A", "S")
MEASURES = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE")
_TEXTS = ("dataset", "group", "model", "encoder", "passes", "rl", "verified", "source", "note")
_NUMBER = re.compile(r"\d+(\.\d+)?(-\d+(\.\d+)?)?")


def published_section(file: Path, dataset: str) -> str:
    """Return the section for one data set, empty if the file has no row for it.

    Raises:
        UserError: The file is wrong; the message names the line.
    """
    rows = [row for row in _read(file) if row["dataset"] == dataset]
    if not rows:
        return ""
    notes = [f"- {row['model']}: {row['note']}" for row in rows if row["note"]]
    texts = ("model", "group", "encoder", "passes", "rl", "source")
    headers = ["Reported, not measured here", "Kind", "Encoder", "Passes", "Tuned by RL", "Source"]
    table = [
        [*(row[key] or "-" for key in texts), *(_cell(row, metric) for metric in MEASURES)]
        for row in rows
    ]
    parts = [
        "## Reported by others",
        "Figures that we did not measure, as given in their sources, with other encoders, training"
        " data and hardware; they cannot be compared with the rows above. [A]: read in the abstract"
        " only; [S]: second-hand; all others were read in the source.",
        markdown([*headers, *MEASURES], table, len(texts)),
        "\n".join(dict.fromkeys(notes)),
    ]
    return "\n\n".join(part for part in parts if part)


def reported_on(file: Path, dataset: str) -> list[dict]:
    """Return the figures reported on a data set, one entry per model, and where they were read.

    Raises:
        UserError: The file is wrong; the message names the line.
    """
    rows = [row for row in _read(file) if row["dataset"] == dataset]
    read = {
        "V": "in the source",
        "V2": "in two sources that agree",
        "A": "in the abstract alone",
        "S": "second-hand",
    }
    return [
        {key: row[key] for key in ("model", "source", "group", "encoder", "passes", "rl", "note")}
        | {
            "figures": {metric: row[metric] for metric in MEASURES if row[metric]},
            "read": read[row["verified"]],
            "where": str(file),
        }
        for row in rows
    ]


def _read(file: Path) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(read_text(file)), strict=True)
    if rows.fieldnames is None or set(rows.fieldnames) != {*_TEXTS, *MEASURES}:
        raise UserError(f"{file}: the columns must be {', '.join((*_TEXTS, *MEASURES))}")
    checked = []
    for row in rows:
        where = f"{file}:{rows.line_num}"
        if None in row or None in row.values():
            raise UserError(
                f"{where}: {len(rows.fieldnames)} fields are expected; put texts with commas in"
                " quotes"
            )
        if row["verified"] not in _PLAIN + _MARKED:
            raise UserError(
                f"{where}: verified is {row['verified']!r}; it must be one of"
                f" {', '.join(_PLAIN + _MARKED)}"
            )
        if not row["source"] or not row["model"]:
            raise UserError(f"{where}: a reported figure needs its model and its source")
        for metric in MEASURES:
            if row[metric] and not _NUMBER.fullmatch(row[metric]):
                raise UserError(
                    f"{where}: {metric} is {row[metric]!r}; a number is expected, or, where"
                    " sources disagree, two with a hyphen"
                )
        checked.append(row)
    return checked


def _cell(row: dict[str, str], metric: str) -> str:
    mark = f" [{row['verified']}]" if row["verified"] in _MARKED else ""
    return row[metric] + mark if row[metric] else "-"
