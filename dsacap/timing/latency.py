"""The latency of all systems in the table.

For systems it is that of decoding, from features in memory to word ids; for the encoder, from
pixels to features. Each system has a process of its own (worker_process.py). The processes are
visited in turn, round after round, so that drift of the machine affects all systems equally. Every
visit begins with a warm-up. Round i of one row can be compared with round i of another.
"""

from contextlib import ExitStack

from dsacap.common.progress import progress
from dsacap.config.experiment import Config
from dsacap.runs.layout import ENCODER
from dsacap.timing.clock import summary
from dsacap.timing.worker_process import TimedSystem


def time_decodings(config: Config) -> dict:
    """Time the encoder, if there is one, and every decoding of a configuration.

    Args:
        config: The configuration, whose systems are trained.

    Returns:
        `machine`, `warmup`, `rounds`, and `rows`: system, decoding and batch size, with the cost of
        decoding (`cost_of`) and the times (`clock.summary`).
    """
    settings = config.timing
    names = {
        **({} if config.encoder.features else {ENCODER: [""]}),
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
        machine = next(iter(systems.values())).machine()
        for i in progress(range(settings.rounds), "time the systems", "round"):
            for name, decoding, size in subjects:
                stage = "encode" if name == ENCODER else "decode"
                warmup = settings.warmup if i == 0 else 1  # others have used the caches meanwhile
                times[name, decoding, size] += systems[name].seconds(
                    stage, decoding, size, warmup, settings.iterations
                )
        costs = {
            (name, decoding): systems[name].cost(decoding)
            for name, decodings in names.items()
            if name != ENCODER
            for decoding in decodings
        }
    rows = [
        {
            "system": name,
            "decoding": decoding,
            "batch_size": size,
            **costs.get((name, decoding), {}),
            **summary(seconds, size),
        }
        for (name, decoding, size), seconds in times.items()
    ]
    return {"machine": machine, "warmup": settings.warmup, "rounds": settings.rounds, "rows": rows}
