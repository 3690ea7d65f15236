"""The command line: one verb a stage. Snakemake calls the same verbs, so a stage can be run, and repaired, by hand."""

import os

# One thread a process unless told otherwise: OpenMP threads of two jobs on the same cores spin against each other. Before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import contextlib
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dsacap import audit
from dsacap.errors import Preempted, UserError
from dsacap.launch import PREEMPTED, dsacap, is_main, launch, launched


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    try:
        return _run(options, arguments)
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{place}; make room or choose another `work` folder. Nothing half-written was kept.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dsacap", description="Benchmark and evaluation harness for DSACap and its rivals.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *, row: bool = False) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("--config", type=Path, default=Path("config/scenes.yaml"), help="configuration (default: %(default)s)")
        if row:
            sub.add_argument("--system", required=True, help="a system of the configuration")
            sub.add_argument("--seed", type=int, default=0, help="which of the configuration's seeds (default: %(default)s)")
        return sub

    verb("doctor", "what this machine has of what a configuration needs, and what to do about the rest")
    valid = verbs.add_parser("validate", help="is a file of captions, a split, photos or a configuration as it should be?")
    valid.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="predictions, annotations, a split, a folder or zip, a configuration"
    )
    _add_reference_arguments(valid, subset=False)
    verb("check", "check a configuration and print what it leads to")
    fetched = verb("download", "fetch the files that the configuration names, or link those that you have; goes on where it stopped")
    fetched.add_argument("--file", type=Path, help="one key of dataset.downloads; default: all")
    fetched.add_argument("--from", type=Path, metavar="FOLDER", help="where files lie already, under their own names")
    fetched.add_argument("--offline", action="store_true", help="never ask the network")
    verb("unpack", "unpack a fetched archive").add_argument("--file", type=Path, required=True, help="a key of dataset.downloads")
    verb("data", "make or load captions and photos, check them, tokenise")
    for name, text in (
        ("encoder", "train the tiny CLIP, or check the named encoder"),
        ("features", "encode every photo once"),
        ("generator", "train the caption prior, or load the named pipeline, and measure how well it tells right captions from wrong ones"),
    ):
        of = verb(name, text)
        of.add_argument("--judge", action="store_true", help="that of the ablation's judge, instead of the captioners'")
        if name != "generator":
            of.add_argument("--sight", action="store_true", help="that in which the generator compares pictures (generator.encoder)")
    verb("teach", "caption the train split by the teacher of a distilled system", row=True)
    for name, text in (("train", "train one system"), ("tune", "tune a trained system by its rewards")):
        of = verb(name, f"{text}; resumes where it was stopped; SIGTERM saves and exits with {PREEMPTED}", row=True)
        of.add_argument("--dry-run", action="store_true", help="take a few steps, keep nothing; tell parameters, memory, steps and hours")
    brought = verb("checkpoint", "caption the test photos by a published checkpoint; resumes where it was stopped")
    brought.add_argument("--row", required=True, help="a row of `predictions` in the configuration")
    _add_photo_arguments(
        verb("caption", "caption photos of your own; or, as a stage, the test split by one system's decodings (`--system`)")
    )
    export = verb("export", "write a trained system to a folder of its own, for `dsacap caption --from` and `dsacap.load`", row=True)
    export.add_argument("folder", type=Path, metavar="FOLDER", help="that is not there yet")
    score = verb("score", "score a predictions file; or, as a stage, a system's captions (`--system human`: the references)")
    score.add_argument("predictions", type=Path, nargs="?", help="a predictions file in COCO's results format")
    score.add_argument("--system", help="a system of the configuration, or human")
    score.add_argument("--seed", type=int, default=0, help="which of the configuration's seeds (default: %(default)s)")
    _add_reference_arguments(score)
    _add_score_arguments(score)
    verb("score-samples", "AllSPICE and the best of k by SPICE of a system's captions: every one is parsed, 40 ms each", row=True)
    compare = verbs.add_parser("compare", help="compare two predictions files on the same images")
    compare.add_argument("a", type=Path, help="a predictions file in COCO's results format")
    compare.add_argument("b", type=Path, help="another, of the same images")
    _add_reference_arguments(compare)
    verb("reconstruct", "how well originals come back from captions (or from references: `--system human`), also by the judge", row=True)
    verb("complete", "let a system go on from right and wrong beginnings of captions, for the claims that test its recovery", row=True)
    verb("inspect", "record what goes on inside a system while it captions: image denoised, graph and best path", row=True)
    verb("time", "measure the latency of all systems")
    latency = verbs.add_parser("report-latency", help="write the page of what pytest --benchmark-only measured")
    latency.add_argument("benchmarks", type=Path, nargs="+", metavar="FILE", help="of pytest --benchmark-only --benchmark-json FILE")
    latency.add_argument("--output", type=Path, default=Path("results/latency.md"), help="the page (default: %(default)s)")
    audit.add_verbs(verbs)
    scale = verb("measure-scale", "measure what a configuration takes at its own size, by random weights, and write the page of it")
    scale.add_argument("--output", type=Path, default=Path("results/scale.md"), help="the page (default: %(default)s)")
    scale.add_argument("--batch-size", type=int, help="images of a training step (default: the configuration's)")
    scale.add_argument("--images", type=int, help="images to encode and to decode at once (default: the configuration's)")
    scale.add_argument("--picture", type=int, help="pixels of the generator's pictures (default: the configuration's)")
    scale.add_argument("--pictures", type=int, help="how many it paints at once (default: the configuration's)")
    scale.add_argument("--vocabulary", type=int, default=10_000, help="words; COCO has about as many (default: %(default)s)")
    scale.add_argument("--seconds", type=float, default=20, help="for each measurement (default: %(default)s)")
    verb("report", "write the tables of the rows that are finished; those that are not are named in them")
    verb("report-samples", "write the table of what score-samples computes")
    verb("report-captions", "write the captions of some photos, and what is wrong with all: grammar, length, agreement")
    verb("report-page", "write index.html: photos with every system's captions, the inside of DSACap, plots")
    verb("report-ablation", "write the table of the ablation")
    verb("report-claims", "test the ablation's claims and write the verdicts")
    verb("publish", "copy the finished tables to results/<name>/")
    verb("keep", "copy the captions of finished rows, and how they were made, to results/<name>/rows/, to be committed")
    verb("restore", "bring kept rows back, so that they are scored and reported without being trained again")
    return parser


def _add_photo_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `caption`."""
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help="file, folder or zip of photos, or - for standard input")
    parser.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help="a system that `dsacap export` wrote")
    parser.add_argument("--system", help="a trained system of the configuration")
    parser.add_argument("--seed", type=int, help="with --system: which of the configuration's; with --from: of what is drawn (default: 0)")
    parser.add_argument("--decoding", metavar="NAME", help="how the system decodes (default: the first way that its configuration names)")
    parser.add_argument("--samples", type=int, metavar="N", help="captions a photo, by a decoding that draws (default: 1)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON a photo")
    parser.add_argument("--image-id", type=int, metavar="ID", help="that a photo has in its data set, to draw what the stage drew for it")


def _add_reference_arguments(parser: argparse.ArgumentParser, subset: bool = True) -> None:
    """The options by which references are given; `subset`: they may be of more images."""
    parser.add_argument("--references", type=Path, nargs="+", metavar="FILE", help="COCO captions_*.json, or with --tokenized id -> tokens")
    parser.add_argument("--tokenized", action="store_true", help="the references are PTB tokens already")
    if subset:
        parser.add_argument("--subset", action="store_true", help="score the predicted images alone where there are references of more")


def _add_score_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that add scores to those of every file, and those that write them."""
    parser.add_argument("--train", type=Path, nargs="+", metavar="FILE", help="train captions (COCO), for novelty and the leak check")
    parser.add_argument(
        "--spice",
        action=argparse.BooleanOptionalAction,
        help="fail where SPICE cannot be computed, or leave it out; the first time its parser is fetched (385 MB), 40 ms a new caption "
        "(default: computed where it can be)",
    )
    parser.add_argument("--all-spice", action="store_true", help="of several captions an image: AllSPICE and the best of k by SPICE too")
    parser.add_argument("--photos", type=Path, help="folder or zip of photos, for CLIPScore")
    parser.add_argument("--encoder", default="ViT-B-32", help="open_clip name for CLIPScore (default: %(default)s)")
    parser.add_argument("--pretrained", default="openai", help="its pretrained tag or file (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores, per image too")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write metric, image_id, value, ci_low, ci_high; image_id empty for all")


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
    elif options.verb == "validate":
        from dsacap.validate import validate_all

        return 0 if validate_all(options.files, options.references or [], options.tokenized) else 1
    elif options.verb == "doctor":
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
    import torch

    from dsacap import stages
    from dsacap.captioning import device_of
    from dsacap.config import load_config
    from dsacap.layout import HUMAN, Layout, manifest_of
    from dsacap.ledger import check_inputs, files_of
    from dsacap.locks import writing
    from dsacap.reporting.provenance import run_stage

    config = load_config(options.config)
    torch.set_num_threads(config.threads)
    layout = Layout(config)
    judge = "judge" in options and options.judge
    if config.ablation is None and (judge or options.verb in ("reconstruct", "complete", "report-ablation", "report-claims")):
        raise UserError(f"{options.config}: no section ablation, which has the judge and the claims")
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
        told = stages.rehearse(layout, *row)
        if is_main():
            print(told)
        return 0

    def stage(function: Callable[[], dict], output: Path) -> None:
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
        case "measure-scale":
            from dsacap.reporting.scale import record_of, write_scale
            from dsacap.timing.scale import measure_scale, size_of

            record = record_of(options.output, device_of(config.device).type)
            run_stage(options.verb, config, lambda: measure_scale(config, size_of(config, options)), record)
            write_scale(config, options.output)
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

            print(f"published in {publish(layout)}; commit it")
        case "keep":
            from dsacap.reporting.kept import keep_rows

            print(f"kept: {', '.join(keep_rows(layout))}; commit them")
        case "restore":
            from dsacap.reporting.kept import restore_rows

            print(f"restored: {', '.join(restore_rows(layout)) or 'nothing that is not here already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
