"""Progress of long work: a bar on a terminal, or else an occasional line.

Lines suit a log and several Snakemake jobs that print at once.
"""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tqdm import tqdm

from dsacap.common.ranks import is_main

T = TypeVar("T")
_LINE = "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, {elapsed} elapsed, {remaining} left{postfix}"
_silent = False


def show_no_progress() -> None:
    """Show no progress from now on, in a process whose parent shows the progress of all."""
    global _silent
    _silent = True


class _Bar(tqdm):
    """A tqdm with a space before the unit, whether the rate is above one a second or below."""

    def __str__(self) -> str:
        return super().__str__().replace("s/ ", " s/")


class _Lines(_Bar):
    """A bar that prints whole lines instead of redrawing one."""

    _decr_instances: Callable[[tqdm], None]  # tqdm's own; its type stubs lack it
    _printed: Any = None  # count and postfix of the last line

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print a line once there is progress; the arguments have no effect."""
        if self.n > self.initial and (now := (self.n, self.postfix)) != self._printed:
            self._printed = now
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """Print the last line."""
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
    """Iterate over items, showing count, rate and time left.

    Args:
        items: What to iterate over; None for a bar that the caller moves by `update`.
        description: The text before the bar.
        unit: The name of one item.
        total: The number of items, where `items` has no length.
        initial: The number of items that are done already.
        unit_scale: Whether to abbreviate counts: 3.2G instead of 3200000000.

    Returns:
        The bar, an iterator over the items.
    """
    terminal = sys.stderr.isatty()
    bar: Any = (_Bar if terminal else _Lines)(
        items,
        desc=description,
        unit=f" {unit}",
        unit_scale=unit_scale,
        total=total,
        initial=initial,
        # Otherwise a thread of tqdm's redraws slow bars, by the system's clock and not by ours
        # below.
        miniters=1,
        mininterval=0.2 if terminal else 15,
        maxinterval=0.2 if terminal else 15,
        dynamic_ncols=terminal,
        bar_format=None if terminal else _LINE,
        file=sys.stderr,
        disable=_silent or not is_main(),
    )
    if not bar.disable:
        # By the machine's clock, tqdm would print nothing for as long as that is set back.
        bar._time = time.monotonic
        bar.start_t = bar.last_print_t = time.monotonic()
    return bar
