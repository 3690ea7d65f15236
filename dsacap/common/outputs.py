"""Checks of where results are to be written, before they are computed."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from dsacap.common.errors import UserError


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path] = ()) -> None:
    """Check that outputs can be written, and that they are neither inputs nor each other.

    Args:
        outputs: The files to write; None for those that are not wanted.
        inputs: The files that are read.

    Raises:
        UserError: An output is a folder, lies where no file can be, is one of the inputs, or is
            named twice.
    """
    wanted = [path for path in outputs if path is not None]
    read = {_identity(path): path for path in inputs}
    seen: dict[object, Path] = {}
    for path in wanted:
        try:
            mode = path.stat().st_mode if path.exists() else None
            parent = path.resolve().parent
            if mode is not None and stat.S_ISDIR(mode):
                raise UserError(f"{path}: is a folder; name a file to write")
            if parent.exists() and not parent.is_dir():
                raise UserError(f"{path}: cannot be written, since {parent} is a file")
            identity = _identity(path)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise UserError(f"{path}: cannot be written: {error}") from None
        if identity in read:
            raise UserError(f"{path}: is read as {read[identity]}; write to another file")
        is_file = mode is None or stat.S_ISREG(mode)
        if identity in seen and is_file:
            raise UserError(f"{path}: is named for two outputs; write each to a file of its own")
        seen[identity] = path


def _identity(path: Path) -> object:
    """What two names of the same file have in common, links included."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino
