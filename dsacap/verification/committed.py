"""Committed tables: their quality cells, and the captions and data that these come from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dsacap.audit.chain import is_quality
from dsacap.common.errors import UserError
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import parse_config
from dsacap.reporting.table_file import Table, load_table
from dsacap.runs.kept_rows import kept_predictions, kept_row
from dsacap.runs.layout import HUMAN, PREDICTIONS, Layout


class RowName(NamedTuple):
    """The name of a row of a table; `seed` is None if the row has none."""

    system: str
    decoding: str
    seed: int | None

    def __str__(self) -> str:
        seed = "" if self.seed is None else f" (seed {self.seed})"
        return f"{self.system}{seed}, {self.decoding}"


class Cell(NamedTuple):
    """The name of a number in a table."""

    row: RowName
    metric: str

    def __str__(self) -> str:
        return f"{self.row}, {self.metric}"


class Numbers(NamedTuple):
    """The contents of a cell. Only the value is always present."""

    value: float
    ci_low: float | None  # of the 95 % interval
    ci_high: float | None
    n: int | None  # number of images


@dataclass(frozen=True)
class Row:
    """A row that can be scored again.

    `captions` is the committed file. It is None for humans, whose captions are the references.
    """

    name: RowName
    captions: Path | None


@dataclass(frozen=True)
class Committed:
    """A table in `folder`, with the layout of the configuration that made it."""

    folder: Path
    table: Table
    layout: Layout

    def cells(self) -> dict[Cell, Numbers]:
        """Return the quality cells: all but measurements of the machine and records of training."""
        cells = _cells(self.table.numbers)
        return {cell: numbers for cell, numbers in cells if is_quality(cell.metric)}

    def rows(self) -> list[Row]:
        """Return every row of the table whose captions are committed."""
        layout, published = self.layout, self.folder
        files: dict[RowName, Path | None] = {RowName(HUMAN, "references", None): None}
        for system, seed in layout.runs:
            captions = layout.captions(system, seed).name
            file = kept_row(published, layout, (system, seed)) / captions
            for decoding in layout.config.systems[system].decodings:
                files[RowName(system, decoding, seed)] = file
        for name in layout.config.predictions:
            files[RowName(name, PREDICTIONS, None)] = kept_predictions(published, name)
        in_table = dict.fromkeys(cell.row for cell in self.cells())
        rows = [Row(name, files[name]) for name in in_table if name in files]
        return [row for row in rows if row.captions is None or row.captions.exists()]

    def scored_by(self, row: RowName) -> int | None:
        """Return the version of the stage `score` that made a row; None if it was not recorded."""
        seed = "" if row.seed is None else f" seed {row.seed}"
        return self.table.manifests.get(f"score {row.system}{seed}", {}).get("version")

    def missing_files(self) -> list[Path]:
        """Return the missing files of the data set's captions, which the user has to provide."""
        dataset = self.layout.config.dataset
        files = [] if isinstance(dataset, Scenes) else dataset.caption_files
        return [path for path in files if not path.exists()]


def load_committed(folder: Path) -> Committed:
    """Load the table in a folder.

    Raises:
        UserError: There is no table, or its configuration is missing or invalid in this version.
    """
    table = load_table(folder)
    if not table.config:
        raise UserError(
            f"{folder}/table.json: it has no configuration, which verifying the table needs;"
            " restore the file"
        )
    config = parse_config(table.config, f"{folder}/table.json")
    return Committed(folder, table, Layout(config))


def _cells(numbers: pd.DataFrame) -> Iterator[tuple[Cell, Numbers]]:
    for row in numbers.itertuples(index=False):
        seed = None if pd.isna(row.seed) else int(row.seed)
        low, high = (None if pd.isna(end) else float(end) for end in (row.ci_low, row.ci_high))
        n = None if pd.isna(row.n) else int(row.n)
        name = RowName(row.system, row.decoding, seed)
        yield Cell(name, row.metric), Numbers(float(row.value), low, high, n)
