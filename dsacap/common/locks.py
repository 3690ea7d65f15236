"""Locks that let one process at a time write.

The system releases a lock when its holder ends, even by `kill -9`.
"""

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
_kept: list[IO] = []  # open, and thereby locked, as long as this process lives


def claim(folder: Path) -> None:
    """Lock a folder against other runs until this process ends.

    Args:
        folder: The folder to lock. It is made where it does not exist.

    Raises:
        UserError: Another process, which the message names, holds the lock.
    """
    file = _open(folder / ".lock")
    if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
        raise UserError(
            f"{folder}: another run works here ({_holder(file)});"
            " wait until it has ended, or set another `work` folder"
        )
    _sign(file)
    _kept.append(file)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the lock on `path` within the block, after waiting for its holder if there is one.

    Such a holder is a process that outlived its pipeline, or one started by hand.
    """
    with _open(path.with_name(f".{path.stem}.lock")) as file:
        if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            message = f"{path}: another process writes it ({_holder(file)}); waiting for it to end"
            print(message, file=sys.stderr, flush=True)
            _locked(file, fcntl.LOCK_EX)
        _sign(file)
        try:
            yield
        finally:
            # Closing the file is not enough: a process forked meanwhile may hold a copy of it.
            fcntl.flock(file, fcntl.LOCK_UN)


def _open(path: Path) -> IO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _locked(file: IO, how: int) -> bool:
    """Try to take the lock; on a file system without locks, warn and go on unlocked."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
        print(
            f"warning: {file.name}: this file system has no locks; run one pipeline at a time",
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
