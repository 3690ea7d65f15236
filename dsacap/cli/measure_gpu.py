"""The verb `measure-gpu`."""

import argparse
import math
import sys
from pathlib import Path

from dsacap.cli.contents import Contents


def add_verbs(contents: Contents) -> None:
    """Add the verb `measure-gpu`."""
    text = "measure a GPU within minutes, for report-latency and measure-scale"
    gpu = contents.add_parser("measure-gpu", text, run=_measure_gpu)
    place, text = Path("config/coco.yaml"), "configuration (default: %(default)s)"
    gpu.add_argument("--config", type=Path, default=place, help=text)
    place, text = Path("results/gpu"), "folder for the JSON files (default: %(default)s)"
    gpu.add_argument("--output", type=Path, default=place, help=text)
    text = "time that it may take; finished parts are kept for the next call (default: %(default)s)"
    gpu.add_argument("--minutes", type=float, default=8, help=text)
    text = "tokens of an image; those of CLIP's ViT-B/16 at 7 x 7 (default: %(default)s)"
    gpu.add_argument("--tokens", type=int, default=50, help=text)
    text = "channels of a token (default: %(default)s)"
    gpu.add_argument("--channels", type=int, default=768, help=text)
    text = "words of the vocabulary; COCO has about as many (default: %(default)s)"
    gpu.add_argument("--vocabulary", type=int, default=10_000, help=text)
    text = "images to decode at a time (default: %(default)s)"
    gpu.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 64, 256], help=text)


def _measure_gpu(options: argparse.Namespace) -> int:
    from dsacap.captioner.interface import ImageSpec
    from dsacap.common.errors import UserError
    from dsacap.common.files import write_json
    from dsacap.common.machine import device_of
    from dsacap.common.outputs import check_outputs, print_written
    from dsacap.config.experiment import load_config
    from dsacap.runs.manifest import commit, run_stage
    from dsacap.timing.full_size import size_of
    from dsacap.timing.gpu_box import latency_report, measure_gpu, scale_facts

    least = min(options.minutes, options.tokens, options.channels, *options.batch_sizes)
    if least <= 0 or not math.isfinite(options.minutes) or options.vocabulary < 100:
        raise UserError(
            "measure-gpu: all numbers must be finite and above 0, and --vocabulary at least 100"
        )
    config = load_config(options.config)
    kind = device_of(config.device).type
    if kind != "cuda":
        print("measure-gpu: no usable GPU, so the CPU is measured", file=sys.stderr)
    same = {"batch_size": None, "images": None, "picture": None, "pictures": None, "seconds": 1.0}
    size = size_of(config, argparse.Namespace(vocabulary=options.vocabulary, **same))
    spec = ImageSpec(options.tokens, options.channels, options.vocabulary, config.text.max_words)
    finished, scale, latency = (
        options.output / f"{name}-{kind}.json" for name in ("finished", "scale", "latency")
    )
    check_outputs([finished, scale, latency], [options.config])

    def measured() -> dict:
        found = measure_gpu(config, spec, size, options.batch_sizes, options.minutes, finished)
        write_json(latency, latency_report(found, commit()))
        facts = scale_facts(config, spec, size, found)
        for name, reason in facts["not_measured"].items():
            print(f"not measured: {name}: {reason}")
        return facts

    run_stage(options.verb, config, measured, scale)
    print_written([latency, scale])
    return 0
