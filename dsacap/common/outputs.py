"""Where results are to be written, which is checked before they are computed."""

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from dsacap.common.errors import UserError

STDOUT = Path("/dev/stdout")


def output_path(text: str) -> Path:
    """Return the file that an option names for an output; `-` is standard output."""
    return STDOUT if text == "-" else Path(text)


@contextlib.contextmanager
def beside(outputs: Iterable[Path | None]) -> Iterator[None]:
    """Print to standard error while standard output is to hold one of the outputs alone."""
    with contextlib.redirect_stdout(sys.stderr if STDOUT in outputs else sys.stdout):
        yield


def print_written(outputs: Iterable[Path | None]) -> None:
    """Print the names of the files that were written, as the last line of a command."""
    names = [str(path) for path in outputs if path not in (None, STDOUT)]
    if names:
        print(f"wrote {', '.join(names)}", file=sys.stderr)


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path] = ()) -> None:
    """Check that outputs can be written, and that they are neither inputs nor each other.

    Args:
        outputs: The files to write; None for those that are not wanted.
        inputs: The files that are read.

    Raises:
        UserError: An output is a folder, lies where this process cannot write, is one of the
            inputs, or is named twice.
    """
    wanted = [path for path in outputs if path is not None]
    read = {identity(path): path for path in inputs}
    seen: dict[object, Path] = {}
    for path in wanted:
        try:
            mode = path.stat().st_mode if path.exists() else None
            if mode is not None and stat.S_ISDIR(mode):
                raise UserError(f"{path}: is a folder; name a file to write")
            if mode is None or stat.S_ISREG(mode):
                _try_to_write(path)
            elif not os.access(path, os.W_OK):
                raise UserError(f"{path}: cannot be written; name another file")
            written = identity(path)
        except (OSError, RuntimeError, ValueError) as error:
            # RuntimeError: a loop of links. ValueError: a NUL in the name.
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path}: cannot be written: {reason}; name another file") from None
        if written in read:
            link = "" if path == read[written] else f", under the name {read[written]}"
            raise UserError(f"{path}: is an input{link}; write to another file")
        is_file = mode is None or stat.S_ISREG(mode)
        if written in seen and (is_file or path == STDOUT):
            raise UserError(f"{path}: is named for two outputs; write each to a file of its own")
        seen[written] = path


def _try_to_write(path: Path) -> None:
    """Write a temporary file where `path` will be, or in the folder above that exists already."""
    resolved = path.resolve()
    above = next(folder for folder in resolved.parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"{path}: cannot be written, since {above} is a file")
    with tempfile.TemporaryFile(dir=above):
        pass


def identity(path: Path) -> object:
    """What two names of the same file have in common, links included."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino
