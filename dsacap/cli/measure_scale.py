"""The command line of `dsacap measure-scale`."""

import argparse
from pathlib import Path


def add_verbs(contents) -> None:
    """Add the verb `measure-scale`."""
    text = "measure what a configuration takes at its own size, by random weights, and write the page of it"
    scale = contents.add_parser("measure-scale", text, run=_measure_scale)
    scale.add_argument(
        "--config",
        type=Path,
        default=Path("config/coco.yaml"),
        help="configuration (default: %(default)s)",
    )
    scale.add_argument(
        "--output",
        type=Path,
        default=Path("results/scale.md"),
        help="the page (default: %(default)s)",
    )
    scale.add_argument(
        "--batch-size", type=int, help="images of a training step (default: the configuration's)"
    )
    scale.add_argument(
        "--images",
        type=int,
        help="images to encode and to decode at once (default: the configuration's)",
    )
    scale.add_argument(
        "--picture",
        type=int,
        help="pixels of the generator's pictures (default: the configuration's)",
    )
    scale.add_argument(
        "--pictures", type=int, help="how many it paints at once (default: the configuration's)"
    )
    scale.add_argument(
        "--vocabulary",
        type=int,
        default=10_000,
        help="words; COCO has about as many (default: %(default)s)",
    )
    scale.add_argument(
        "--seconds", type=float, default=20, help="for each measurement (default: %(default)s)"
    )


def _measure_scale(options: argparse.Namespace) -> int:
    from dsacap.common.machine import device_of
    from dsacap.config.experiment import load_config
    from dsacap.reporting.scale import check_page, record_of, write_scale
    from dsacap.runs.manifest import run_stage
    from dsacap.timing.full_size import measure_scale, size_of

    config = load_config(options.config)
    size, record = (
        size_of(config, options),
        record_of(options.output, device_of(config.device).type),
    )
    check_page(config, options.output)
    run_stage(options.verb, config, lambda: measure_scale(config, size), record)
    write_scale(config, options.output)
    return 0
