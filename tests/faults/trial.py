"""A trial of inputs: how each ended, whether it was refused by its name, and what became of the files."""

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
    """No Exception, which what decodes photos takes for damage."""


class Trial:
    """Tries inputs of a kind in a folder of their own, and counts how they ended."""

    def __init__(self, folder: Path):
        self.folder, self.ended = folder, Counter()

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def command(self, *arguments: object, named: Path, writes: tuple[str, ...] = ()) -> bool:
        """Whether `dsacap` took the input; where not, it has said so by the file's name, and left all files as they are."""
        before = contents(self.folder)
        out, err = (
            io.TextIOWrapper(io.BytesIO(), "utf-8", errors)
            for errors in ("strict", "backslashreplace")
        )
        with _in_time(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(argument) for argument in arguments])
        out.flush()
        err.flush()
        said, left = err.buffer.getvalue().decode(), contents(self.folder)
        refused = "error: " in said
        assert status == 0 or refused or arguments[0] == "diff", (status, said)
        assert not refused or (status and named.name in said), (status, said)
        assert {name: data for name, data in left.items() if name not in writes} == before
        self.ended["refused" if refused else "taken"] += 1
        return not refused

    def call(self, function: Callable, *arguments, named: Path):
        """What a function returns, or None where it refuses by the file's name."""
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
