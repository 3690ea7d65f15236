"""The latency of all systems for the table: decoding from features in memory to word ids, and of the encoder, pixels to features.

Each system is held by a process of its own (worker_process.py), and they are visited in turn, round after round, so that a machine that
drifts is unfair to nobody. Every visit begins with calls that do not count. Round i of one row and of another can be compared.
"""

from contextlib import ExitStack

from dsacap.common.progress import progress
from dsacap.config.experiment import Config
from dsacap.runs.layout import ENCODER
from dsacap.timing.clock import summary
from dsacap.timing.worker_process import TimedSystem


def time_decodings(config: Config) -> dict:
    """{"machine", "rows": [{system, decoding, batch_size, median_ms, p90_ms, p99_ms, images_per_s, ms, ...}]}; see clock.summary."""
    settings = config.timing
    names = {
        ENCODER: [""],
        **{name: list(system.decodings) for name, system in config.systems.items()},
    }
    subjects = [
        (name, decoding, size)
        for name, decodings in names.items()
        for decoding in decodings
        for size in settings.batch_sizes
    ]
    times: dict[tuple, list[float]] = {subject: [] for subject in subjects}
    with ExitStack() as stack:
        systems = {name: stack.enter_context(TimedSystem(config, name)) for name in names}
        machine = systems[ENCODER].machine()
        for i in progress(range(settings.rounds), "time the systems", "round"):
            for name, decoding, size in subjects:
                stage = "encode" if name == ENCODER else "decode"
                warmup = settings.warmup if i == 0 else 1  # a visit finds caches that another left
                times[name, decoding, size] += systems[name].seconds(
                    stage, decoding, size, warmup, settings.iterations
                )
        costs = {
            (name, of): systems[name].cost(of)
            for name, decodings in names.items()
            if name != ENCODER
            for of in decodings
        }
    rows = [
        {
            "system": name,
            "decoding": decoding,
            "batch_size": size,
            **costs.get((name, decoding), {}),
            **summary(of, size),
        }
        for (name, decoding, size), of in times.items()
    ]
    return {"machine": machine, "warmup": settings.warmup, "rounds": settings.rounds, "rows": rows}
