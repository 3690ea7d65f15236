"""Reading one step ahead, so that training does not wait for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Reads the data of the next step in another thread while the current step is computed.

    `read` must be a function of the step alone and use no shared random generator; then its result
    does not depend on whether it was read ahead. Its exceptions are raised when its step is asked
    for.
    """

    def __init__(self, read: Callable[[int], T], steps: int):
        """Start the thread.

        Args:
            read: Returns the data of a step.
            steps: The number of steps, at which reading ahead ends.
        """
        self._read, self._steps = read, steps
        self._ahead: dict[int, Future[T]] = {}
        # Without this the thread would pin its memory for the first GPU, not for this process' own.
        use_own_gpu = (
            partial(torch.cuda.set_device, torch.cuda.current_device())
            if torch.cuda.is_initialized()
            else None
        )
        self._thread = ThreadPoolExecutor(1, "read-ahead", use_own_gpu)

    def __call__(self, step: int) -> T:
        """Return the data of a step, and start to read those of the next one."""
        ahead: Future[T] | None = self._ahead.pop(step, None)
        data = self._read(step) if ahead is None else ahead.result()
        self._ahead = (
            {step + 1: self._thread.submit(self._read, step + 1)} if step + 1 < self._steps else {}
        )
        return data
