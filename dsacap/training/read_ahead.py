"""Reading one step ahead, so that no step waits for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Of steps in turn, what `read(step)` gives; while one is worked on, another thread reads the next.

    `read` must be a function of the step alone, and touch no random generator that others use; then what it gives does not depend on
    whether it was read ahead. What it raises is raised where the step is asked for.
    """

    def __init__(self, read: Callable[[int], T], steps: int):
        """`steps`: there is none from that number on."""
        self._read, self._steps, self._ahead = read, steps, {}
        here = (
            partial(torch.cuda.set_device, torch.cuda.current_device())
            if torch.cuda.is_initialized()
            else None
        )
        self._thread = ThreadPoolExecutor(
            1, "read-ahead", here
        )  # a thread's memory would be pinned for the first GPU, whosever it is

    def __call__(self, step: int) -> T:
        ahead: Future[T] | None = self._ahead.pop(step, None)
        found = self._read(step) if ahead is None else ahead.result()
        self._ahead = (
            {step + 1: self._thread.submit(self._read, step + 1)} if step + 1 < self._steps else {}
        )
        return found
