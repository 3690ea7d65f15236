"""What the table of stages says of each stage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dsacap.runs.layout import Layout

Row = tuple[str, int]  # a row of a table: system, seed


@dataclass(frozen=True)
class Stage:
    """One stage.

    Functions of a stage get the layout, and, if the stage is of a row, its system and seed. Paths
    may be patterns such as `encoder/**/*.safetensors`: the files of a stage whose names only it
    knows.

    Attributes:
        verb: Its verb on the command line.
        version: Raised by one when its code, or a default, changes what it writes for the same
            settings. None if its files are named by the key of another stage.
        help: One line for `--help`.
        run: The function that does the work, as `module:function`.
        place: The file or folder that it makes. Its manifest lies beside the file or in the folder.
        reads: The files that it reads. Their hashes go into its manifest, and it refuses to run if
            one is absent or was changed since it was written.
        writes: The files that it writes, if they are others than `place`.
        rows: The rows that a configuration has it for; None if it is of the whole configuration.
        waits_for: Files that must be there before, but are not hashed: photos may be gigabytes.
        options: Further options of its verb.
        section: A section of the configuration that it cannot do without.
        on_gpu: Whether it uses a GPU if there is one.
        code: Modules that decide what it writes, besides those that `run`'s module imports.
        without_networks: Whether what it imports of models is left out of its code, because it
            uses only what lies in the same modules.
    """

    verb: str
    version: int | None
    help: str
    run: str
    place: Callable[..., Path]
    reads: Callable[..., list[Path]]
    writes: Callable[..., list[Path]] | None = None
    rows: Callable[["Layout"], list[Row]] | None = None
    waits_for: Callable[["Layout"], list[Path]] | None = None
    options: tuple[Literal["judge", "sight", "dry-run", "trial"], ...] = ()
    section: Literal["ablation", "judge"] | None = None
    on_gpu: bool = False
    code: tuple[str, ...] = ()
    without_networks: bool = False
