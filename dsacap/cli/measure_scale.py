"""The verb `measure-scale`."""

import argparse
from pathlib import Path

from dsacap.cli.contents import Contents


def add_verbs(contents: Contents) -> None:
    """Add the verb `measure-scale`."""
    text = "measure what a configuration takes at full size, with random weights, and write a page"
    scale = contents.add_parser("measure-scale", text, run=_measure_scale)
    place, text = Path("config/coco.yaml"), "configuration (default: %(default)s)"
    scale.add_argument("--config", type=Path, default=place, help=text)
    place, text = Path("results/scale.md"), "the page (default: %(default)s)"
    scale.add_argument("--output", type=Path, default=place, help=text)
    text = "images of a training step (default: the configuration's)"
    scale.add_argument("--batch-size", type=int, help=text)
    text = "images to encode and to decode at once (default: the configuration's)"
    scale.add_argument("--images", type=int, help=text)
    text = "size of the generator's pictures in pixels (default: the configuration's)"
    scale.add_argument("--picture", type=int, help=text)
    text = "pictures that the generator paints at once (default: the configuration's)"
    scale.add_argument("--pictures", type=int, help=text)
    text = "words of the vocabulary; COCO has about as many (default: %(default)s)"
    scale.add_argument("--vocabulary", type=int, default=10_000, help=text)
    text = "seconds for each measurement (default: %(default)s)"
    scale.add_argument("--seconds", type=float, default=20, help=text)
    text = "measure nothing, and write the page from the records next to it"
    scale.add_argument("--page-only", action="store_true", help=text)


def _measure_scale(options: argparse.Namespace) -> int:
    from dsacap.common.machine import device_of
    from dsacap.common.outputs import print_written
    from dsacap.config.experiment import load_config
    from dsacap.reporting.scale import check_page, record_of, write_scale
    from dsacap.runs.manifest import run_stage
    from dsacap.timing.full_size import measure_scale, size_of

    config = load_config(options.config)
    check_page(config, options.output)
    if not options.page_only:
        size = size_of(config, options)
        record = record_of(options.output, device_of(config.device).type)
        run_stage(options.verb, config, lambda: measure_scale(config, size), record)
    write_scale(config, options.output)
    print_written([options.output])
    return 0
