"""Latency of every system, each in its own process and by its clock: `pytest --benchmark-only`.

Systems with trained weights in the work folder are timed from features (decode), from pixels (end
to end) and from files (wall), at the length that their captions have. All systems are timed with
random weights of the configured size at three fixed lengths, which needs no run. Options:
`--latency-config`, `--latency-seconds`, `--latency-compiled`, `--latency-bf16`. docs/latency.md has
the protocol.
"""

from statistics import median

import pytest

from dsacap.common.files import read_json
from dsacap.common.machine import device_of
from dsacap.config.experiment import load_config
from dsacap.runs.layout import ENCODER, Layout
from dsacap.timing.worker_process import TimedSystem
from helpers import SCENES_SHAPE

LENGTHS = (8, 16, 32)
OFFLINE = 64
LARGEST = "largest"  # batch that fits a GPU's memory
WARMUP, ROUNDS = 10, 100


class WorkerClock:
    """A clock of the seconds that workers have measured, which pytest-benchmark then reports."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = WorkerClock()


def pytest_generate_tests(metafunc):
    option = metafunc.config.getoption
    config = load_config(option("--latency-config"))
    layout = Layout(config)
    modes = [False, True] if option("--latency-compiled") else [False]
    precisions = ["fp32", "bf16"] if option("--latency-bf16") else ["fp32"]
    trained = {
        name
        for name in config.systems
        if (layout.system(name, config.seeds[0]) / "model.safetensors").exists()
    }
    offline = [OFFLINE, LARGEST] if device_of(config.device).type == "cuda" else [OFFLINE]
    rows = []  # (how the process is started, decoding, stage, images)
    if trained:
        rows += [((ENCODER, None, False, "fp32"), "", "encode", images) for images in (1, OFFLINE)]
    for name, system in config.systems.items():
        for compiled in modes:
            for precision in precisions:
                natural = (
                    [
                        ("decode", 1),
                        *(("decode", n) for n in offline),
                        ("end_to_end", 1),
                        ("wall", 1),
                    ]
                    if name in trained
                    else []
                )
                for decoding in system.decodings:
                    rows += [
                        ((name, None, compiled, precision), decoding, stage, images)
                        for stage, images in natural
                    ]
                first = next(iter(system.decodings))
                if not system.tuned_from:  # tuning changes no shape
                    rows += [
                        ((name, length, compiled, precision), first, "decode", images)
                        for length in LENGTHS
                        for images in (1, *offline)
                    ]
    ids = [
        f"{name}-{decoding or stage}-{'natural' if length is None else f'{length} words'}-{stage}"
        f"-batch {images}{'-compiled' if compiled else ''}{'-bf16' if precision == 'bf16' else ''}"
        for (name, length, compiled, precision), decoding, stage, images in rows
    ]
    metafunc.parametrize(
        ("timed", "decoding", "stage", "images"), rows, indirect=["timed"], ids=ids, scope="module"
    )


@pytest.fixture(scope="module")
def timed(request):
    """A running process, and how it was started."""
    config = load_config(request.config.getoption("--latency-config"))
    system, length, compiled, precision = request.param
    spec = None if length is None else spec_of(config) | {"max_words": length}
    with TimedSystem(config, system, spec, compiled, precision) as process:
        yield (
            process,
            {"system": system, "length": length, "compiled": compiled, "precision": precision},
        )


def spec_of(config) -> dict[str, int]:
    """Shapes of the data set: as a run in this folder has them, or those of the scenes."""
    layout = Layout(config)
    if not (layout.features / "index.json").exists():
        return SCENES_SHAPE
    index = read_json(layout.features / "index.json")
    words = len(read_json(layout.data / "vocabulary.json"))
    return {"tokens": index["tokens"], "channels": index["channels"], "vocabulary": words}


@pytest.mark.benchmark(timer=CLOCK)
def test_latency(benchmark, timed, decoding, stage, images, request):
    process, how = timed
    seconds = request.config.getoption("--latency-seconds")
    if images == LARGEST:
        images = process.largest_batch(decoding, OFFLINE)
    length = "natural length" if how["length"] is None else f"{how['length']} words"
    how_fast = (
        f"{', compiled' if how['compiled'] else ''}{', bf16' if how['precision'] == 'bf16' else ''}"
    )
    benchmark.group = f"{stage.replace('_', ' ')}, {length}, batch {images}{how_fast}"

    def run():
        CLOCK.now += process.seconds(stage, decoding, images, warmup=0, iterations=1)[0]

    first = process.seconds(stage, decoding, images, warmup=1, iterations=1)[0]
    fit = max(1, int(seconds / first))
    typical = median(
        process.seconds(
            stage, decoding, images, warmup=min(WARMUP, fit), iterations=3, budget=seconds
        )
    )
    benchmark.pedantic(run, rounds=min(ROUNDS, max(3, int(seconds / typical))))
    cost = process.cost(decoding, images) if stage == "decode" and not how["compiled"] else {}
    benchmark.extra_info.update(
        how, decoding=decoding, stage=stage, images=images, machine=process.machine(), **cost
    )
