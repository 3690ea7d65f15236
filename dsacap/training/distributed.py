"""One training in one process or in several: which device is whose, what they tell each other, and when they are asked to end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from dsacap.common.machine import device_of

_PATIENCE = timedelta(days=1)  # while the first process evaluates, the others wait


@contextmanager
def joined(device: str) -> Iterator[Accelerator]:
    """This process' accelerator; where several were launched, waits for all. `device` as in the configuration."""
    accelerator = Accelerator(
        cpu=device_of(device).type == "cpu",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    yield accelerator
    if accelerator.num_processes > 1:  # not where this one failed: it would wait for the others
        torch.distributed.destroy_process_group()


def from_main(work: Callable[[], float], accelerator: Accelerator) -> float:
    """What the first process finds; the others wait for it."""
    mine = work() if accelerator.is_main_process else 0.0
    if accelerator.num_processes == 1:
        return mine
    return accelerator.reduce(
        torch.tensor(mine, dtype=torch.float64, device=accelerator.device), "sum"
    ).item()


class Watch:
    """The processor time of all processes, and whether one of them was asked to end."""

    def __init__(self, accelerator: Accelerator, cpu_seconds: float):
        """`cpu_seconds` were spent before."""
        self.accelerator, self._before, self._started, self._asked = (
            accelerator,
            cpu_seconds,
            time.process_time(),
            threading.Event(),
        )

    @contextmanager
    def over_sigterm(self) -> Iterator[None]:
        """SIGTERM, by which a cluster takes a machine back, is noted instead of obeyed."""
        if (
            threading.current_thread() is not threading.main_thread()
        ):  # where Python allows no handlers
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: self._asked.set())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def look(self) -> tuple[float, bool]:
        """CPU-seconds so far and whether to end, by all processes alike: call it in all."""
        spent, asked = time.process_time() - self._started, float(self._asked.is_set())
        if self.accelerator.num_processes > 1:
            both = torch.tensor([spent, asked], dtype=torch.float64, device=self.accelerator.device)
            spent, asked = self.accelerator.reduce(both, "sum").tolist()
        return self._before + spent, asked > 0
