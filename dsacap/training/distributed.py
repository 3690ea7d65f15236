"""A training in one process or in several: their devices, what they exchange, and SIGTERM."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from dsacap.common.machine import device_of

_PATIENCE = timedelta(days=1)  # while the first process evaluates, the others wait


@contextmanager
def joined(device: str) -> Iterator[Accelerator]:
    """Yield the accelerator of this process; if several were launched, wait for all.

    Args:
        device: The device, as in the configuration.
    """
    accelerator = Accelerator(
        cpu=device_of(device).type == "cpu",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    yield accelerator
    if accelerator.num_processes > 1:  # not where this one failed: it would wait for the others
        torch.distributed.destroy_process_group()


def from_main(work: Callable[[], float], accelerator: Accelerator) -> float:
    """Return what the first process computes; the others wait for it."""
    return values_from_main(lambda: [work()], 1, accelerator)[0]


def values_from_main(
    work: Callable[[], list[float]], count: int, accelerator: Accelerator
) -> list[float]:
    """Return the `count` numbers that the first process computes; the others wait for them."""
    mine = work() if accelerator.is_main_process else [0.0] * count
    if accelerator.num_processes == 1:
        return mine
    return accelerator.reduce(
        torch.tensor(mine, dtype=torch.float64, device=accelerator.device), "sum"
    ).tolist()


class Watch:
    """The processor time of all processes, and whether one of them was asked to end."""

    def __init__(self, accelerator: Accelerator, cpu_seconds: float):
        """Begin to count; `cpu_seconds` were spent before."""
        self._before = cpu_seconds
        # Over gloo also where gradients go over NCCL: the CPUs agree without waiting for the GPUs.
        self._group: Any = (  # torch annotates a number too, for processes outside of the group
            torch.distributed.new_group(backend="gloo") if accelerator.num_processes > 1 else None
        )
        self._started, self._asked = time.process_time(), threading.Event()

    @contextmanager
    def over_sigterm(self) -> Iterator[None]:
        """Note SIGTERM, by which a cluster reclaims a machine, instead of ending on it."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows handlers in the main thread only
            return
        before = signal.signal(signal.SIGTERM, lambda *_: self._asked.set())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def look(self) -> tuple[float, bool]:
        """Return the CPU-seconds so far and whether to end; all processes must call it."""
        spent, asked = time.process_time() - self._started, float(self._asked.is_set())
        if self._group is not None:
            both = torch.tensor([spent, asked], dtype=torch.float64)
            torch.distributed.all_reduce(both, group=self._group)
            spent, asked = both.tolist()
        return self._before + spent, asked > 0
