"""Standard output whose reader may stop reading."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def until_unread() -> Iterator[None]:
    """Leave the block quietly when the reader of standard output closes it, as `| head` does.

    Any other broken pipe, such as that to a worker process, remains an error.
    """
    try:
        yield
    except BrokenPipeError:
        stdout = sys.__stdout__
        if stdout is None or not _is_unread(stdout):
            raise
        # What is still buffered is flushed at exit, and must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())


def _is_unread(stdout: TextIO) -> bool:
    """Return whether the other end of standard output is closed."""
    poll = select.poll()
    poll.register(stdout.fileno(), 0)  # no event is requested; errors are reported anyway
    return bool(poll.poll(0))
