"""Latency of decoding: batch of features in, word ids out, and of the encoder: pixels in, features out.

All subjects are timed in turn, round after round, so that a drifting machine is unfair to nobody. On a GPU each measurement ends with
one synchronisation. The full protocol (scenarios, precisions, compiled graphs) is a later addition.
"""

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from dsacap.captioner import Batch
from dsacap.captioning import device_of
from dsacap.progress import progress

ENCODER = "encoder"


def time_decodings(layout, inputs, encoder) -> dict:
    """Median and 90th percentile in milliseconds a batch: {"device", "threads", "rows": [{system, decoding, batch_size, ...}]}.

    Every round takes the next images of the test split, so that captions have their natural lengths.
    """
    settings, device = layout.config.timing, device_of(layout.config.device)
    ids = [example.image_id for example in inputs.examples("test")]
    encoder = encoder.to(device)
    subjects: list[tuple[dict, Callable[[Batch], object]]] = []
    for size in settings.batch_sizes:
        pixels = torch.zeros(size, 3, *encoder.image_size, device=device)
        subjects.append(({"system": ENCODER, "decoding": "", "batch_size": size}, lambda _, pixels=pixels: encoder(pixels)))
    for system in layout.config.systems:
        captioner = inputs.captioner(system, layout.config.seeds[0])
        for name, decoding in inputs.decodings(system).items():
            for size in settings.batch_sizes:
                row = {"system": system, "decoding": name, "batch_size": size}
                subjects.append((row, lambda batch, c=captioner, d=decoding: c.caption(batch, 1, 0, d)))

    seconds: list[list[float]] = [[] for _ in subjects]
    for i in progress(range(settings.warmup + settings.iterations), "time the systems", "round"):
        batches = {}
        for size in settings.batch_sizes:
            chosen = tuple(ids[(i * size + k) % len(ids)] for k in range(size))
            batches[size] = Batch(chosen, inputs.store.read(chosen).to(device))
        for subject, (row, run) in enumerate(subjects):
            elapsed = _timed(partial(run, batches[row["batch_size"]]), device)
            if i >= settings.warmup:
                seconds[subject].append(elapsed)
    rows = [row | _summary(times, row["batch_size"]) for (row, _), times in zip(subjects, seconds, strict=True)]
    return {"device": device_name(device), "threads": torch.get_num_threads(), "warmup": settings.warmup, "rows": rows}


def _timed(run: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    run()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(times: list[float], batch_size: int) -> dict:
    median = statistics.median(times)
    return {
        "median_ms": 1000 * median,
        "p90_ms": 1000 * statistics.quantiles(times, n=10, method="inclusive")[-1],
        "images_per_s": batch_size / median,
        "iterations": len(times),
        "ms": [round(1000 * time, 4) for time in times],
    }


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux
        return platform.processor() or platform.machine()
