"""Standard output, whose reader may stop reading."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def until_unread() -> Iterator[None]:
    """What is printed to `| head` ends when head does, and that is no error. Any other broken pipe is one, such as that to a worker."""
    try:
        yield
    except BrokenPipeError:
        if not _is_unread():
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno()
        )  # what is flushed at exit goes nowhere


def _is_unread() -> bool:
    """Whether the other end of standard output is closed, as the system tells it: no event is asked for, and errors come unasked."""
    poll = select.poll()
    poll.register(sys.__stdout__.fileno(), 0)
    return bool(poll.poll(0))
