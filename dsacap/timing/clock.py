"""The duration of a call, by the clock of the device that does the work."""

import statistics
import time
from collections.abc import Callable

import torch


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Measure one call.

    On a GPU, the time is that between two CUDA events around the call, which are read after one
    synchronisation. Work that was queued before is finished first.

    Args:
        run: The call to measure.
        device: The device that does its work.

    Returns:
        Seconds.
    """
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
    """Measure several calls after a warm-up.

    Args:
        prepare: Returns the next call. Its own time is not measured.
        device: The device that does the work.
        warmup: Calls before the first that is measured.
        iterations: Calls to measure.
        seconds: No call begins once the measured ones have taken this long; one is always measured.

    Returns:
        Seconds of each measured call.
    """
    for _ in range(warmup):
        timed(prepare(), device)
    times: list[float] = []
    while len(times) < iterations and (not times or sum(times) < seconds):
        times.append(timed(prepare(), device))
    return times


def summary(times: list[float], images: int) -> dict:
    """Summarise the times of batches.

    Args:
        times: Seconds of each batch.
        images: Images per batch.

    Returns:
        Median, 90th and 99th percentile and each time in milliseconds, the number of iterations,
        and the images per second at the median.
    """
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
