"""The files that a stage reads and writes, by the table of stages.

Their hashes are in its manifest. So the chain from a number to the data can be followed, and a
stage refuses an input that differs from what the previous stage wrote. A folder of many files is
represented by its index (features) or by its weights.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, sha256
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.stage import Row
from dsacap.runs.stage_table import STAGES
from dsacap.vision.features.store import INDEX

Files = tuple[list[Path], list[Path]]  # read, written


def files_of(layout: Layout, verb: str, row: Row | None) -> Files:
    """Return the files that a stage reads and those that it wrote, as far as they are there.

    Args:
        layout: The layout of the configuration.
        verb: The stage.
        row: System and seed; None for a stage of the whole configuration.
    """
    read, written = _paths(layout, verb, row)
    return list(_found(read)), list(_found(written))


def planned_files(layout: Layout, verb: str, row: Row | None) -> Files:
    """Return the files by which Snakemake orders the stages, before any of them is there.

    Files whose names only their stage knows are represented by that stage's manifest.

    Returns:
        What the stage needs, and what it makes, its manifest included.
    """
    stage = STAGES[verb]
    read, written = _paths(layout, verb, row)
    needed = [*read, *(stage.waits_for(layout) if stage.waits_for else ())]
    made = [path for path in written if not _is_pattern(path)]
    manifest = manifest_of(stage.place(layout, *(row or ())))
    return list(dict.fromkeys(_known_before(path, layout) for path in needed)), [*made, manifest]


def check_inputs(layout: Layout, verb: str, row: Row | None) -> None:
    """Check what a stage is to read.

    Raises:
        UserError: A file was not made yet, or is not what the stage before wrote: a flipped bit, a
            truncation, a file of another run.
    """
    for path in files_of(layout, verb, row)[0]:
        if layout.root in path.parents and not path.exists():
            raise UserError(
                f"{path}: no such file yet; an earlier stage makes it. "
                "Run the pipeline (snakemake), or that stage, first"
            )
        manifest = _manifest_of_file(path, layout.root)
        if manifest is None:  # the user's own
            continue
        written = (
            read_json(manifest).get("outputs", {}).get(path.relative_to(layout.root).as_posix())
        )
        if written and sha256(path) != written:
            raise UserError(
                f"{path}: changed since it was written (another sha256 than in {manifest.name}); "
                f"{_remedy(path)}"
            )
        if path.name == INDEX:
            _check_shards(path)


def _paths(layout: Layout, verb: str, row: Row | None) -> Files:
    """What the table says: paths and patterns."""
    stage, of = STAGES[verb], row or ()
    written = stage.writes(layout, *of) if stage.writes else [stage.place(layout, *of)]
    return stage.reads(layout, *of), written


def _is_pattern(path: Path) -> bool:
    return any("*" in part for part in path.parts)


def _found(paths: Iterable[Path]) -> Iterable[Path]:
    """The files of patterns, but for checkpoints of what is still in training."""
    for path in paths:
        if not _is_pattern(path):
            yield path
            continue
        first = next(at for at, part in enumerate(path.parts) if "*" in part)
        folder, pattern = Path(*path.parts[:first]), Path(*path.parts[first:])
        names = (found.relative_to(folder) for found in sorted(folder.glob(pattern.as_posix())))
        yield from (folder / name for name in names if "checkpoint" not in name.parts)


def _known_before(path: Path, layout: Layout) -> Path:
    """The file itself, or for a pattern the manifest of the stage that writes such files."""
    if not _is_pattern(path):
        return path
    return manifest_of(layout.root / path.relative_to(layout.root).parts[0])


def _check_shards(index: Path) -> None:
    written = read_json(index)
    for shard in chain(written["shards"], *written.get("views", [])):
        path = index.parent / shard["file"]
        if sha256(path) != shard["sha256"]:
            raise UserError(
                f"{path}: changed since it was written (another sha256 than in {INDEX}); "
                f"{_remedy(path, index)}"
            )


def _remedy(*files: Path) -> str:
    names = " and ".join(file.name for file in files)
    return f"delete {names} there and run the same command again"


def _manifest_of_file(path: Path, root: Path) -> Path | None:
    """Of the stage that wrote a file: next to it, or in its folder or a folder above."""
    folders = (manifest_of(folder) for folder in path.parents if root in folder.parents)
    return next((place for place in (manifest_of(path), *folders) if place.exists()), None)
