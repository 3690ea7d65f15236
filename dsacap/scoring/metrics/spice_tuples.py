"""Cache of the tuples that SPICE's parser makes of captions.

They depend on the text of the caption and the parser only. The cache is one SQLite file, which
several processes may use at once. Each row has a checksum, and a damaged one is parsed again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from dsacap.common.errors import UserError

Tuples = list[list[str]]
_T = TypeVar("_T")
_PATIENCE = 60.0  # seconds to wait for another process's write
_BATCH = 500  # keys per query; older versions of SQLite allow 999 variables
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class TupleCache:
    """The cached tuples of one parser.

    A damaged file is renamed with a warning, and a new one is started. All methods but `close`
    raise UserError if the file cannot be used.

    Args:
        path: The SQLite file, which is created if necessary.
        parser: A string that changes with everything that changes the parser's output.
    """

    def __init__(self, path: Path, parser: str) -> None:
        self.path, self._parser = Path(path), parser
        self._connection: sqlite3.Connection | None = None

    def get(self, captions: Iterable[str]) -> dict[str, Tuples]:
        """Return caption -> tuples, for the captions that have been parsed before."""
        keys = {self._key(caption): caption for caption in captions}
        rows = self._run(lambda connection: list(_select(connection, list(keys))))
        return {
            keys[key]: json.loads(text) for key, text, check in rows if _check(key, text) == check
        }

    def put(self, tuples: Mapping[str, Tuples]) -> None:
        """Add the tuples of captions, replacing existing ones."""
        rows = [
            (self._key(caption), json.dumps(of_caption)) for caption, of_caption in tuples.items()
        ]
        checked = [(key, text, _check(key, text)) for key, text in rows]
        self._run(lambda connection: _insert(connection, checked))

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _key(self, caption: str) -> bytes:
        return hashlib.sha256(json.dumps([self._parser, caption]).encode()).digest()

    def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call `work` with the connection, and once more on a new file if this one is damaged."""
        try:
            try:
                return work(self._open())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self.close()
                self._set_aside(error)
                return work(self._open())
        except (sqlite3.OperationalError, OSError) as error:
            raise UserError(
                f"{self.path}: cannot be used ({error}); set DSACAP_CACHE to a writable folder"
            ) from None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_PATIENCE)
            self._connection.execute("PRAGMA journal_mode=WAL").fetchone()
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS tuples"
                " (key BLOB PRIMARY KEY, tuples TEXT, sum BLOB) WITHOUT ROWID"
            )
        return self._connection

    def _set_aside(self, error: Exception) -> None:
        """Rename the file, unless another process has done so and started a new one since."""
        with _locked(self.path.with_name(self.path.name + ".lock")):
            if _is_sound(self.path):
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        print(
            f"warning: {self.path}: {error}; the file was renamed to {aside.name}, and its captions"
            " are parsed again",
            file=sys.stderr,
        )


def _select(
    connection: sqlite3.Connection, keys: list[bytes]
) -> Iterator[tuple[bytes, str, bytes]]:
    for start in range(0, len(keys), _BATCH):
        part = keys[start : start + _BATCH]
        marks = ",".join("?" * len(part))
        yield from connection.execute(
            f"SELECT key, tuples, sum FROM tuples WHERE key IN ({marks})", part
        )


def _insert(connection: sqlite3.Connection, rows: list[tuple[bytes, str, bytes]]) -> None:
    with connection:
        connection.executemany("INSERT OR REPLACE INTO tuples VALUES (?, ?, ?)", rows)


def _check(key: bytes, text: str) -> bytes:
    return hashlib.sha256(key + text.encode()).digest()[:8]


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _is_sound(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection:
        try:
            return connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                return False
            raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
