"""A process of ours that answers requests, each request and each answer one line of JSON."""

import contextlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any


class ChildEnded(Exception):
    """The process ended, or was killed, before it answered."""


class ChildProcess:
    """A running process with its standard input and output.

    Attributes:
        process: The process.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stderr: IO[bytes] | None = None,
        new_session: bool = False,
    ) -> None:
        """Start the process.

        Args:
            command: The program and its arguments.
            environment: All its environment variables.
            stderr: A file for its standard error; None for ours.
            new_session: Keep the signals of our terminal, such as that of Ctrl-C, from it.
        """
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=new_session,
        )
        assert self.process.stdin and self.process.stdout  # Popen opens them, as PIPE asks
        self._stdin, self._stdout = self.process.stdin, self.process.stdout

    def send(self, request: Any) -> None:
        """Send a request without waiting. If the process has ended, the next `ask` reports it."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()

    def ask(self, request: Any) -> Any:
        """Send a request, and return the answer.

        Raises:
            ChildEnded: The process ended before it answered; `process.returncode` says how.
        """
        self.send(request)
        line = self._stdout.readline()
        if line.endswith(b"\n"):  # otherwise it was killed, perhaps within an answer
            return json.loads(line)
        self.process.wait()
        raise ChildEnded

    def close(self) -> None:
        """Kill the process, and wait until it has ended."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):  # closing flushes what is left to write
            self._stdin.close()
        self._stdout.close()
        self.process.wait()
