"""The command line: one verb a stage. Snakemake calls the same verbs, so a stage can be run, and repaired, by hand."""

import os

# One thread a process unless told otherwise: OpenMP threads of two jobs on the same cores spin against each other. Before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dsacap import arithmetic
from dsacap.arguments import completion, parsed
from dsacap.errors import Preempted, UserError
from dsacap.exhausted import exhausted
from dsacap.launch import PREEMPTED, dsacap, is_main, launch, launched
from dsacap.stdout import until_unread


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
        from dsacap.export.command import check

        check(options)
    if options.verb == "compare" or (options.verb == "score" and options.predictions):
        from dsacap.evaluate import compare_files, score_file

        (compare_files if options.verb == "compare" else score_file)(options)
    elif options.verb == "completion":
        print(completion(options.shell))
    elif options.verb == "validate":
        from dsacap.validate import validate_all

        return 0 if validate_all(options.files, options.references or [], options.tokenized) else 1
    elif options.verb == "doctor":
        arithmetic.choose_before_torch(options.config)
        from dsacap.config import load_config
        from dsacap.doctor import examine

        return 0 if examine(load_config(options.config)) else 1
    elif options.verb == "caption" and options.folder:
        import dsacap
        from dsacap.export.command import caption_photos

        caption_photos(options, dsacap.load(options.folder))
    elif options.verb == "report-latency":
        from dsacap.reporting.latency import write_latency

        write_latency(options.benchmarks, options.output)
    else:
        return _run_stage(options, arguments)
    return 0


def _run_stage(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    arithmetic.choose_before_torch(options.config)
    import torch

    from dsacap import stages
    from dsacap.config import load_config
    from dsacap.layout import HUMAN, Layout, manifest_of
    from dsacap.ledger import check_inputs, files_of
    from dsacap.locks import writing
    from dsacap.reporting.provenance import run_stage

    config = load_config(options.config)
    torch.set_num_threads(config.threads)
    layout = Layout(config)
    judge = "judge" in options and options.judge
    if config.ablation is None and options.verb in ("complete", "report-claims"):
        raise UserError(f"{options.config}: no section ablation, which has the claims")
    if config.judge is None and (judge or options.verb in ("reconstruct", "report-ablation")):
        raise UserError(f"{options.config}: no section ablation.judge, the encoder and generator that reconstructions are compared by")
    layout = layout.judge if judge else layout
    layout = layout.sight if "sight" in options and options.sight else layout
    row = (options.system, options.seed or 0) if "system" in options else None
    others = {"score": (HUMAN, *config.predictions), "reconstruct": (HUMAN,)}.get(options.verb, ())
    if row and row not in layout.runs and row[0] not in others:
        known = ", ".join(f"{system} (seed {seed})" for system, seed in layout.runs)
        raise UserError(f"{options.config}: no system {row[0]!r} with seed {row[1]}; known: {known}")

    if options.verb in ("train", "tune") and config.processes > 1 and not launched():
        return launch(config.processes, dsacap(arguments))

    if "dry_run" in options and options.dry_run:
        arithmetic.prepare(config.arithmetic, config.device)
        told = stages.rehearse(layout, *row)
        if is_main():
            print(told)
        return 0

    if row and row[0] in config.systems:
        stages.check_verb(config, options.verb, row[0])

    def stage(function: Callable[[], dict], output: Path) -> None:
        arithmetic.prepare(config.arithmetic, config.device)
        of = (options.row, 0) if options.verb == "checkpoint" else row
        with writing(manifest_of(output)) if is_main() else contextlib.nullcontext():  # of several processes one writes
            check_inputs(layout, options.verb, of)
            run_stage(options.verb, config, function, manifest_of(output), lambda: files_of(layout, options.verb, of))

    match options.verb:
        case "check":
            print(f"{options.config}: well-formed; {len(layout.runs)} runs, table in {layout.table}")
            for line in stages.predicted_sizes(layout):
                print(line)
        case "download":
            given = {"folder": vars(options)["from"], "offline": options.offline}
            settings = config.downloads.model_copy(update={name: value for name, value in given.items() if value})
            stages.download(layout, options.file, settings)
        case "unpack":
            stages.unpack(layout, options.file)
        case "data":
            stage(lambda: stages.make_data(layout), layout.data)
        case "encoder":
            stage(lambda: stages.make_encoder(layout), layout.encoder)
        case "features":
            stage(lambda: stages.make_features(layout), layout.features)
        case "pixels":
            stage(lambda: stages.make_pixels(layout), layout.pixels)
        case "generator":
            stage(lambda: stages.make_generator(layout), layout.generator)
        case "teach":
            stage(lambda: stages.teach(layout, *row), layout.lessons(*row))
        case "train":
            stage(lambda: stages.train_system(layout, *row), layout.system(*row))
        case "tune":
            stage(lambda: stages.tune_system(layout, *row), layout.system(*row))
        case "checkpoint":
            if options.row not in config.predictions:
                known = ", ".join(config.predictions) or "none"
                raise UserError(f"{options.config}: no row {options.row!r} among its predictions; known: {known}")
            stage(lambda: stages.caption_by_checkpoint(layout, options.row), layout.predictions(options.row))
        case "caption" if options.photos:
            from dsacap.export.command import caption_photos
            from dsacap.export.writing import from_run

            arithmetic.prepare(config.arithmetic, config.device)
            caption_photos(options, from_run(layout, *row))
        case "export":
            from dsacap.export.writing import export_system

            export_system(layout, *row, options.folder)
            print(f"exported to {options.folder}; its README.md says how to use it")
        case "caption":
            stage(lambda: stages.caption_split(layout, *row), layout.captions(*row))
        case "score":
            stage(lambda: stages.score_system(layout, *row), layout.scores(*row))
        case "score-samples":
            stage(lambda: stages.score_system_samples(layout, *row), layout.sample_scores(*row))
        case "reconstruct":
            stage(lambda: stages.reconstruct_captions(layout, *row), layout.reconstructions(*row))
        case "complete":
            if options.system not in layout.completed:
                raise UserError(f"{options.config}: no claim tests the recovery of {options.system!r}")
            stage(lambda: stages.complete_captions(layout, *row), layout.completions(*row))
        case "inspect":
            stage(lambda: stages.inspect_system(layout, *row), layout.inside(*row))
        case "time":
            stage(lambda: stages.time_systems(layout), layout.latency)
        case "report":
            from dsacap.reporting.table import write_tables

            write_tables(layout)
        case "report-samples":
            from dsacap.reporting.table import write_sample_table

            write_sample_table(layout)
        case "report-captions":
            from dsacap.reporting.captions import write_caption_page

            write_caption_page(layout)
        case "report-page":
            from dsacap.reporting.page import write_page

            print(f"{layout.page}: {write_page(layout):,} bytes; open it in a browser")
        case "report-ablation":
            from dsacap.reporting.ablation import write_ablation

            write_ablation(layout)
        case "report-claims":
            from dsacap.reporting.claims import write_claims

            write_claims(layout)
        case "publish":
            from dsacap.reporting.publish import publish

            published = publish(layout)
            print(f"published in {published.folder}, with the captions of {len(published.kept)} rows; commit it")
            if lacking := published.without_captions:
                print(f"without captions, which are no longer in {layout.root}, so that they cannot be verified: {', '.join(lacking)}")
        case "keep":
            from dsacap.reporting.kept import keep_rows

            print(f"kept: {', '.join(keep_rows(layout))}; commit them")
        case "restore":
            from dsacap.reporting.kept import restore_rows

            print(f"restored: {', '.join(restore_rows(layout)) or 'nothing that is not here already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
