"""Progress of long work: a bar on a terminal; elsewhere (a log, several Snakemake jobs at once) a line now and then."""

import sys
import time
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

from dsacap.common.ranks import is_main

T = TypeVar("T")
_silent = False


def show_no_progress() -> None:
    """From here on; for one of several processes that work side by side, whose progress another shows."""
    global _silent
    _silent = True


class _Lines(tqdm):
    """Whole lines instead of a bar that is drawn over itself."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self.n > self.initial:
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        if not self.disable:
            self.disable = True  # keeps tqdm from ending the line a second time
            self._decr_instances(self)
            self.display()


def progress(
    items: Iterable[T] | None,
    description: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    unit_scale: bool = False,
) -> tqdm:
    """Iterates over `items`, showing count, rate and time left; without items it is moved by hand. `unit_scale`: 3.2G, not 3200000000."""
    terminal = sys.stderr.isatty()
    bar = (tqdm if terminal else _Lines)(
        items,
        desc=description,
        unit=f" {unit}",
        unit_scale=unit_scale,
        total=total,
        initial=initial,
        mininterval=0.2 if terminal else 15,
        maxinterval=0.2 if terminal else 15,
        dynamic_ncols=terminal,
        bar_format=None
        if terminal
        else "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, {elapsed} gone, {remaining} left{postfix}",
        file=sys.stderr,
        disable=_silent or not is_main(),
    )
    if not bar.disable:  # by a clock that nobody sets: tqdm's own falls silent for as long as the machine's jumps back
        bar._time = time.monotonic
        bar.start_t = bar.last_print_t = time.monotonic()
    return bar
