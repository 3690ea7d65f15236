"""This stage measures the latency of all systems and of the encoder."""

from dsacap.common.files import write_json
from dsacap.runs.layout import Layout


def time_systems(layout: Layout) -> dict:
    """Latency of every system and of the encoder."""
    from dsacap.timing.latency import time_decodings

    timed = time_decodings(layout.config)
    write_json(layout.latency, timed)
    return {"machine": timed["machine"], "warmup": timed["warmup"], "rounds": timed["rounds"]}
