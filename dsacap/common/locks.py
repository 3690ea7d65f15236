"""One writer at a time: locks that the system lets go of when their holder ends, by kill -9 too."""

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from dsacap.common.errors import UserError

_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems
_kept: list[IO] = []  # open as long as this process lives


def claim(folder: Path) -> None:
    """Keeps others out of `folder` until this process ends. UserError, which says who is there, where somebody is."""
    file = _open(folder / ".lock")
    if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
        raise UserError(
            f"{folder}: another run works here ({_holder(file)}); wait until it has ended, or set another `work` folder"
        )
    _sign(file)
    _kept.append(file)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Is the only one that writes `path`, after waiting for whoever does: a process that outlived its pipeline, or one started by hand."""
    with _open(path.with_name(f".{path.stem}.lock")) as file:
        if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            print(
                f"{path}: is being written ({_holder(file)}); waiting", file=sys.stderr, flush=True
            )
            _locked(file, fcntl.LOCK_EX)
        _sign(file)
        try:
            yield
        finally:
            fcntl.flock(
                file, fcntl.LOCK_UN
            )  # closing is not enough where a process forked meanwhile has a copy


def _open(path: Path) -> IO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _locked(file: IO, how: int) -> bool:
    """Whether the lock was to be had; where the file system has none, it is said, and nobody is kept out."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
        print(
            f"warning: {file.name}: this file system has no locks; run one pipeline at a time in it",
            file=sys.stderr,
        )
    return True


def _sign(file: IO) -> None:
    file.truncate(0)
    file.write(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    file.flush()


def _holder(file: IO) -> str:
    file.seek(0)
    return file.read() or "a process that has just begun"
