"""This module runs the verbs that need a configuration: it loads and checks it, calls the stage, and records how files were made."""

import argparse
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from dsacap.cli.launch import dsacap, launch
from dsacap.common import arithmetic
from dsacap.common.errors import UserError
from dsacap.common.ranks import is_main, launched


def run_verb(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    arithmetic.choose_before_torch(options.config)
    import torch

    from dsacap.common.locks import writing
    from dsacap.config.experiment import load_config
    from dsacap.runs.layout import HUMAN, Layout, manifest_of
    from dsacap.runs.manifest import run_stage
    from dsacap.runs.stage_files import check_inputs, files_of
    from dsacap.stages.caption import caption_split, complete_captions
    from dsacap.stages.checkpoint import caption_by_checkpoint
    from dsacap.stages.data import make_data
    from dsacap.stages.disk_estimate import predicted_sizes
    from dsacap.stages.download import download, unpack
    from dsacap.stages.dry_run import rehearse
    from dsacap.stages.encoder import make_encoder
    from dsacap.stages.features import make_features, make_pixels
    from dsacap.stages.generator import make_generator
    from dsacap.stages.inspect_system import inspect_system
    from dsacap.stages.latency import time_systems
    from dsacap.stages.reconstruct import reconstruct_captions
    from dsacap.stages.score import score_system, score_system_samples
    from dsacap.stages.train import check_verb, teach, train_system, tune_system

    config = load_config(options.config)
    torch.set_num_threads(config.threads)
    layout = Layout(config)
    judge = "judge" in options and options.judge
    if config.ablation is None and options.verb in ("complete", "report-claims"):
        raise UserError(f"{options.config}: no section ablation, which has the claims")
    if config.judge is None and (judge or options.verb in ("reconstruct", "report-ablation")):
        raise UserError(
            f"{options.config}: no section ablation.judge, the encoder and generator that reconstructions are compared by"
        )
    layout = layout.judge if judge else layout
    layout = layout.sight if "sight" in options and options.sight else layout
    row = (options.system, options.seed or 0) if "system" in options else None
    others = {"score": (HUMAN, *config.predictions), "reconstruct": (HUMAN,)}.get(options.verb, ())
    if row and row not in layout.runs and row[0] not in others:
        known = ", ".join(f"{system} (seed {seed})" for system, seed in layout.runs)
        raise UserError(
            f"{options.config}: no system {row[0]!r} with seed {row[1]}; known: {known}"
        )

    if options.verb in ("train", "tune") and config.processes > 1 and not launched():
        return launch(config.processes, dsacap(arguments))

    if "dry_run" in options and options.dry_run:
        arithmetic.prepare(config.arithmetic, config.device)
        told = rehearse(layout, *row)
        if is_main():
            print(told)
        return 0

    if row and row[0] in config.systems:
        check_verb(config, options.verb, row[0])

    def stage(function: Callable[[], dict], output: Path) -> None:
        arithmetic.prepare(config.arithmetic, config.device)
        of = (options.row, 0) if options.verb == "checkpoint" else row
        with (
            writing(manifest_of(output)) if is_main() else contextlib.nullcontext()
        ):  # of several processes one writes
            check_inputs(layout, options.verb, of)
            run_stage(
                options.verb,
                config,
                function,
                manifest_of(output),
                lambda: files_of(layout, options.verb, of),
            )

    match options.verb:
        case "check":
            print(
                f"{options.config}: well-formed; {len(layout.runs)} runs, table in {layout.table}"
            )
            for line in predicted_sizes(layout):
                print(line)
        case "download":
            given = {"folder": vars(options)["from"], "offline": options.offline}
            settings = config.downloads.model_copy(
                update={name: value for name, value in given.items() if value}
            )
            download(layout, options.file, settings)
        case "unpack":
            unpack(layout, options.file)
        case "data":
            stage(lambda: make_data(layout), layout.data)
        case "encoder":
            stage(lambda: make_encoder(layout), layout.encoder)
        case "features":
            stage(lambda: make_features(layout), layout.features)
        case "pixels":
            stage(lambda: make_pixels(layout), layout.pixels)
        case "generator":
            stage(lambda: make_generator(layout), layout.generator)
        case "teach":
            stage(lambda: teach(layout, *row), layout.lessons(*row))
        case "train":
            stage(lambda: train_system(layout, *row), layout.system(*row))
        case "tune":
            stage(lambda: tune_system(layout, *row), layout.system(*row))
        case "checkpoint":
            if options.row not in config.predictions:
                known = ", ".join(config.predictions) or "none"
                raise UserError(
                    f"{options.config}: no row {options.row!r} among its predictions; known: {known}"
                )
            stage(
                lambda: caption_by_checkpoint(layout, options.row), layout.predictions(options.row)
            )
        case "caption" if options.photos:
            from dsacap.cli.caption import caption_photos
            from dsacap.export.writing import from_run

            arithmetic.prepare(config.arithmetic, config.device)
            caption_photos(options, from_run(layout, *row))
        case "export":
            from dsacap.export.writing import export_system

            export_system(layout, *row, options.folder)
            print(f"exported to {options.folder}; its README.md says how to use it")
        case "caption":
            stage(lambda: caption_split(layout, *row), layout.captions(*row))
        case "score":
            stage(lambda: score_system(layout, *row), layout.scores(*row))
        case "score-samples":
            stage(lambda: score_system_samples(layout, *row), layout.sample_scores(*row))
        case "reconstruct":
            stage(lambda: reconstruct_captions(layout, *row), layout.reconstructions(*row))
        case "complete":
            if options.system not in layout.completed:
                raise UserError(
                    f"{options.config}: no claim tests the recovery of {options.system!r}"
                )
            stage(lambda: complete_captions(layout, *row), layout.completions(*row))
        case "inspect":
            stage(lambda: inspect_system(layout, *row), layout.inside(*row))
        case "time":
            stage(lambda: time_systems(layout), layout.latency)
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
            print(
                f"published in {published.folder}, with the captions of {len(published.kept)} rows; commit it"
            )
            if lacking := published.without_captions:
                print(
                    f"without captions, which are no longer in {layout.root}, so that they cannot be verified: {', '.join(lacking)}"
                )
        case "keep":
            from dsacap.runs.kept_rows import keep_rows

            print(f"kept: {', '.join(keep_rows(layout))}; commit them")
        case "restore":
            from dsacap.runs.kept_rows import restore_rows

            print(
                f"restored: {', '.join(restore_rows(layout)) or 'nothing that is not here already'}"
            )
    return 0
