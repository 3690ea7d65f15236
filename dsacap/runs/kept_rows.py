"""Finished rows as committed files: captions and how they were made, so that training is not lost.

A row is kept under the name of its folder in `work`, which contains a hash of all that decides its
content. So it is restored only if the configuration still asks for exactly that row. Scores are not
kept, since they follow from the captions.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.manifest import require_committed
from dsacap.runs.stage import Row


def keep_rows(layout: Layout, may_be_none: bool = False) -> list[str]:
    """Copy every row that has captions to results/<name>/rows/, and finished trials beside it.

    Captions, manifests and training curves of trained rows are copied; of rows of `predictions`,
    the captions only; of trials the validation scores and manifests, to results/<name>/trials/.

    Args:
        layout: The layout of the configuration.
        may_be_none: Whether it is no error if no row has captions.

    Returns:
        The names of the rows.

    Raises:
        UserError: No row has captions, or one was made from uncommitted code.
    """
    finished = [run for run in layout.runs if layout.captions(*run).exists()]
    predicted = [row for row in layout.config.predictions if layout.predictions(row).exists()]
    tried = [trial for trial in _trials(layout) if trial.scores.exists()]
    if not finished and not predicted and not tried and not may_be_none:
        raise UserError(f"{layout.root}: no row has captions yet; run `snakemake row_SYSTEM` first")
    for run in finished:
        folder, captions = layout.system(*run), layout.captions(*run)
        require_committed(
            folder,
            {"train": read_json(manifest_of(folder)), "caption": read_json(manifest_of(captions))},
        )
        _copy(_files(layout, run), kept_row(layout.published, layout, run))
    for row in predicted:
        with replacing(kept_predictions(layout.published, row)) as temporary:
            shutil.copyfile(layout.predictions(row), temporary)
    for trial in tried:
        require_committed(
            trial.folder,
            {"train": read_json(trial.files[0]), "score-validation": read_json(trial.files[1])},
        )
        _copy(trial.files, trial.kept)
    return [*map(_named, finished), *predicted, *(trial.name for trial in tried)]


def rows_without_captions(layout: Layout) -> list[str]:
    """Return the names of scored rows that cannot be kept, as their captions have left `work`."""
    trained = [_named(run) for run in layout.finished if not layout.captions(*run).exists()]
    return trained + [
        row for row in layout.config.predictions if not layout.predictions(row).exists()
    ]


def restore_rows(layout: Layout) -> list[str]:
    """Copy kept rows back to `work`, if the configuration asks for them and they are not there.

    Returns:
        The names of the rows that were restored.
    """
    absent = [run for run in layout.runs if not layout.captions(*run).exists()]
    kept = [
        run
        for run in absent
        if (kept_row(layout.published, layout, run) / layout.captions(*run).name).exists()
    ]
    for run in kept:
        folder = kept_row(layout.published, layout, run)
        _copy((folder / file.name for file in _files(layout, run)), layout.system(*run))
    tried = [
        trial
        for trial in _trials(layout)
        if not trial.scores.exists() and (trial.kept / trial.scores.name).exists()
    ]
    for trial in tried:
        _copy((trial.kept / file.name for file in trial.files), trial.folder)
    return [*map(_named, kept), *(trial.name for trial in tried)]


@dataclass(frozen=True)
class _Trial:
    """The files of a trial.

    Attributes:
        name: Its system and name, for people.
        folder: The folder of its weights.
        scores: Its scores on the validation split.
        kept: Where it is kept.
    """

    name: str
    folder: Path
    scores: Path
    kept: Path

    @property
    def files(self) -> list[Path]:
        """The files to keep, scores last: if they exist, so does the rest."""
        return [manifest_of(self.folder), manifest_of(self.scores), self.scores]


def _trials(layout: Layout) -> list[_Trial]:
    """Return the trials of a configuration."""
    found = []
    for (system, seed), name in layout.trials:
        tried = layout.tried(system, name)
        folder, scores = tried.system(system, seed), tried.validation(system, seed)
        kept = layout.published / "trials" / folder.name
        found.append(_Trial(f"{system} (trial {name})", folder, scores, kept))
    return found


def kept_row(published: Path, layout: Layout, run: Row) -> Path:
    """Return where the files of a row are kept, in the folder of the committed table."""
    return published / "rows" / layout.system(*run).name


def kept_predictions(published: Path, row: str) -> Path:
    """Return where the captions of a row of `predictions` are kept."""
    return published / "rows" / row / "captions.json"


def _files(layout: Layout, run: Row) -> list[Path]:
    """Return the files to keep, captions last: if they exist, so does the rest."""
    captions = layout.captions(*run)
    folder = layout.system(*run)
    return [manifest_of(folder), folder / "train.jsonl", manifest_of(captions), captions]


def _copy(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        with replacing(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)


def _named(run: Row) -> str:
    return f"{run[0]} (seed {run[1]})"
