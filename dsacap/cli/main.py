"""The command line: one verb a stage. Snakemake calls the same verbs, so a stage can be run, and repaired, by hand."""

import os

# One thread a process unless told otherwise: OpenMP threads of two jobs on the same cores spin against each other. Before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Sequence

from dsacap.cli.arguments import completion, parsed
from dsacap.cli.stages import run_verb
from dsacap.common import arithmetic
from dsacap.common.broken_pipe import until_unread
from dsacap.common.errors import PREEMPTED, Preempted, UserError, exhausted
from dsacap.common.ranks import is_main


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parsed(arguments)
    try:
        with until_unread():
            return _run(options, arguments)
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if options.verb == "diff" else 1
    except Preempted as stopped:
        if is_main():
            print(stopped, file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except Exception as error:
        said = exhausted(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """The exit status; what goes wrong on the way is raised."""
    if "run" in options:
        return 0 if options.run(options) else 1
    if options.verb == "score" and bool(options.predictions) == bool(options.system):
        raise UserError("score: give either a predictions file (with --references), or --system")
    if options.verb == "caption":
        from dsacap.cli.caption import check

        check(options)
    if options.verb == "compare" or (options.verb == "score" and options.predictions):
        from dsacap.cli.score import compare_files, score_file

        (compare_files if options.verb == "compare" else score_file)(options)
    elif options.verb == "completion":
        print(completion(options.shell))
    elif options.verb == "validate":
        from dsacap.cli.validate import validate_all

        return 0 if validate_all(options.files, options.references or [], options.tokenized) else 1
    elif options.verb == "doctor":
        arithmetic.choose_before_torch(options.config)
        from dsacap.cli.doctor import examine
        from dsacap.config.experiment import load_config

        return 0 if examine(load_config(options.config)) else 1
    elif options.verb == "caption" and options.folder:
        from dsacap.cli.caption import caption_photos
        from dsacap.common.machine import device_of
        from dsacap.export.reading import read_folder

        caption_photos(options, read_folder(options.folder, device_of("auto")))
    elif options.verb == "report-latency":
        from dsacap.reporting.latency import write_latency

        write_latency(options.benchmarks, options.output)
    else:
        return run_verb(options, arguments)
    return 0
