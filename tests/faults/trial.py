"""Trials of inputs: how each ended, whether its error named the file, and whether files changed."""

import contextlib
import io
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from dsacap.cli.main import main
from dsacap.common.errors import UserError

_LONGEST = 20  # seconds of one input


class Hang(BaseException):
    """Raised after too long. It is no Exception, which decoders of photos would take for damage."""


class Trial:
    """Tries inputs of a kind in a folder of their own, and counts how they ended."""

    def __init__(self, folder: Path):
        self.folder, self.ended = folder, Counter()

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def command(
        self, *arguments: object, named: Path | tuple[str, ...], writes: tuple[str, ...] = ()
    ) -> bool:
        """Run `dsacap`, and return whether it accepted the input.

        If not, assert that its error names the file, or one of several, and that no file has
        changed.
        """
        before = contents(self.folder)
        out, err = (
            io.TextIOWrapper(io.BytesIO(), "utf-8", errors)
            for errors in ("strict", "backslashreplace")
        )
        with _in_time(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(argument) for argument in arguments])
        out.flush()
        err.flush()
        printed, after = err.buffer.getvalue().decode(), contents(self.folder)
        refused = "error: " in printed
        assert status == 0 or refused or arguments[0] == "diff", (status, printed)
        names = (named.name,) if isinstance(named, Path) else named
        assert not refused or (status and any(one in printed for one in names)), (status, printed)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed <= (set() if refused else set(writes)), changed
        self.ended["refused" if refused else "taken"] += 1
        return not refused

    def call(self, function: Callable, *arguments, named: Path):
        """Return a function's result, or None if it raises a UserError that names the file."""
        try:
            with _in_time():
                found = function(*arguments)
        except UserError as error:
            assert named.name in str(error), error
            self.ended["refused"] += 1
            return None
        self.ended["taken"] += 1
        return found


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def hang(*_):
        raise Hang(f"more than {_LONGEST} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(_LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
