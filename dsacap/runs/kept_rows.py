"""Finished rows as committed files: captions and how they were made, so that days of training outlive the machine that did them.

A row is kept under the name of its folder in `work`, which is a hash of all that decides its content: it comes back only where the
configuration still asks for exactly that. Scores are not kept: they follow from the captions.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.manifest import require_committed


def keep_rows(layout: Layout, may_be_none: bool = False) -> list[str]:
    """Copies captions, manifests and training curves of every row that has captions to results/<name>/rows/; the names of the rows.

    Of rows of others (`predictions`) the captions alone are copied. Raises UserError where no row has captions, unless there `may_be_none`,
    or where one was made from code that no commit holds.
    """
    finished = [run for run in layout.runs if layout.captions(*run).exists()]
    others = [row for row in layout.config.predictions if layout.predictions(row).exists()]
    if not finished and not others and not may_be_none:
        raise UserError(f"{layout.root}: no row has captions yet; run `snakemake row_SYSTEM` first")
    for run in finished:
        folder, captions = layout.system(*run), layout.captions(*run)
        require_committed(
            folder,
            {"train": read_json(manifest_of(folder)), "caption": read_json(manifest_of(captions))},
        )
        _copy(_files(layout, run), kept_row(layout.published, layout, run))
    for row in others:
        with replacing(kept_predictions(layout.published, row)) as temporary:
            shutil.copyfile(layout.predictions(row), temporary)
    return [*map(_named, finished), *others]


def rows_without_captions(layout: Layout) -> list[str]:
    """The names of the scored rows whose captions are no longer in `work`, so that they cannot be kept."""
    trained = [_named(run) for run in layout.finished if not layout.captions(*run).exists()]
    return trained + [
        row for row in layout.config.predictions if not layout.predictions(row).exists()
    ]


def restore_rows(layout: Layout) -> list[str]:
    """Copies kept rows that the configuration still asks for to `work`, where captions are not there already; the names of the rows."""
    absent = [run for run in layout.runs if not layout.captions(*run).exists()]
    kept = [
        run
        for run in absent
        if (kept_row(layout.published, layout, run) / layout.captions(*run).name).exists()
    ]
    for run in kept:
        folder = kept_row(layout.published, layout, run)
        _copy((folder / file.name for file in _files(layout, run)), layout.system(*run))
    return [_named(run) for run in kept]


def kept_row(published: Path, layout: Layout, run: tuple[str, int]) -> Path:
    """Where the files of a row are kept, in the folder of the committed table."""
    return published / "rows" / layout.system(*run).name


def kept_predictions(published: Path, row: str) -> Path:
    """Where the captions of a row of others are kept."""
    return published / "rows" / row / "captions.json"


def _files(layout: Layout, run: tuple[str, int]) -> list[Path]:
    """Captions last: they say that the rest is there."""
    captions = layout.captions(*run)
    folder = layout.system(*run)
    return [manifest_of(folder), folder / "train.jsonl", manifest_of(captions), captions]


def _copy(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        with replacing(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)


def _named(run: tuple[str, int]) -> str:
    return f"{run[0]} (seed {run[1]})"
