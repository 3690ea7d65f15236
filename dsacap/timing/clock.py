"""How long a call takes, by the clock of the device that does the work."""

import statistics
import time
from collections.abc import Callable

import torch


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call. On a GPU: between two events around it, read after one synchronisation, and after all queued before is done."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    before.record()
    run()
    after.record()
    torch.cuda.synchronize(device)
    return before.elapsed_time(after) / 1000


def repeated(
    prepare: Callable[[], Callable[[], object]],
    device: torch.device,
    warmup: int,
    iterations: int,
    seconds: float = float("inf"),
) -> list[float]:
    """Seconds of each of `iterations` calls, or of as many as begin within `seconds`, at least one; `warmup` calls before do not count.

    `prepare` gives the next call, and its own time does not count.
    """
    for _ in range(warmup):
        timed(prepare(), device)
    times: list[float] = []
    while len(times) < iterations and (not times or sum(times) < seconds):
        times.append(timed(prepare(), device))
    return times


def summary(times: list[float], images: int) -> dict:
    """Of the seconds that batches of `images` took: median, tails, throughput, and each time, in milliseconds."""
    quantiles = (
        statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    )
    return {
        "median_ms": 1000 * quantiles[49],
        "p90_ms": 1000 * quantiles[89],
        "p99_ms": 1000 * quantiles[98],
        "images_per_s": images / quantiles[49],
        "iterations": len(times),
        "ms": [round(1000 * time, 4) for time in times],
    }
