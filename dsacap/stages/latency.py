"""The stage `time`: the latency of all systems and of the encoder is measured."""

from dsacap.common.files import write_json
from dsacap.runs.layout import Layout


def time_systems(layout: Layout) -> dict:
    """Measure the latency of every system and of the encoder.

    Returns:
        Facts for the manifest: the machine, and the numbers of warm-ups and rounds.
    """
    from dsacap.timing.latency import time_decodings

    timed = time_decodings(layout.config)
    write_json(layout.latency, timed)
    return {"machine": timed["machine"], "warmup": timed["warmup"], "rounds": timed["rounds"]}
