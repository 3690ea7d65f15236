"""The verbs of the stages in the table of stages: their command line, and how one is run."""

import argparse
import contextlib
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dsacap.cli.contents import Contents
from dsacap.cli.launch import dsacap, launch
from dsacap.common import arithmetic
from dsacap.common.errors import PREEMPTED, UserError
from dsacap.common.ranks import is_main, launched
from dsacap.runs.stage import Row, Stage
from dsacap.runs.stage_table import STAGES

if TYPE_CHECKING:
    from dsacap.runs.layout import Layout

_OPTIONS = {
    "judge": "do this for the ablation's judge instead of the captioners",
    "sight": "do this for the encoder that compares the generator's pictures (generator.encoder)",
    "trial": "use the settings of one of the configuration's trials",
    "dry-run": "take a few steps and store nothing; print parameters, memory, steps and hours",
}
_SECTIONS = {
    "ablation": "no section ablation, which has the claims",
    "judge": "no section ablation.judge, which names the encoder and generator of the judge",
    "trials": "no section trials; name a file of config/trials/ beside it",
}
_WITH_FILES = ("caption", "score")  # their verbs take files too: own_files.py


def add_verbs(contents: Contents) -> None:
    """Add `download`, `unpack` and the stages to the command line."""
    text = "fetch the files that the configuration names, or link those that you have"
    fetched = contents.verb("download", text, run=_download)
    fetched.add_argument("--file", type=Path, help="one key of dataset.downloads; default: all")
    text = "a folder that has files already, under their own names"
    fetched.add_argument("--from", type=Path, metavar="FOLDER", help=text)
    fetched.add_argument("--offline", action="store_true", help="never ask the network")
    unpack = contents.verb("unpack", "unpack a fetched archive", run=_unpack)
    unpack.add_argument("--file", type=Path, required=True, help="a key of dataset.downloads")
    for stage in STAGES.values():
        if stage.verb not in _WITH_FILES:
            _add_stage(contents, stage)


def _add_stage(contents: Contents, stage: Stage) -> None:
    text = stage.help
    if "dry-run" in stage.options:
        text += f"; resumes where it was stopped; on SIGTERM it saves and exits with {PREEMPTED}"
    by_row = stage.rows is not None and stage.verb != "checkpoint"
    sub = contents.verb(stage.verb, stage.help, text, run=run_stage_verb, row=by_row)
    if stage.verb == "checkpoint":
        text = "a row of `predictions` in the configuration"
        sub.add_argument("--row", required=True, help=text)
    for option in stage.options:
        if option == "trial":
            sub.add_argument("--trial", metavar="NAME", help=_OPTIONS[option])
        else:
            sub.add_argument(f"--{option}", action="store_true", help=_OPTIONS[option])


def run_stage_verb(options: argparse.Namespace) -> int:
    """Run a stage: check its row and its inputs, call its function, and write its manifest.

    Returns:
        The exit status.

    Raises:
        UserError: The configuration has no such stage or row, or an input is absent or changed.
    """
    layout, stage = opened(options.config), STAGES[options.verb]
    given = vars(options)
    if stage.section or given.get("judge"):
        require_section(layout, options.config, stage.section or "judge")
    layout = layout.judge if given.get("judge") else layout
    layout = layout.sight if given.get("sight") else layout
    layout = layout.tried(options.system, trial) if (trial := given.get("trial")) else layout
    config, row = layout.config, None
    rows = stage.rows(layout) if stage.rows else []
    if stage.verb == "checkpoint":
        row = _prediction_of(layout, options)
    elif stage.rows:
        row = row_of(layout, options, rows)
    if "dry-run" in stage.options:
        if config.processes > 1 and not launched():
            return launch(config.processes, dsacap(options.arguments))
        if options.dry_run and row:
            return _rehearse(layout, *row)
    if row and row not in rows:
        raise UserError(_has_no_such_stage(layout, options, row, rows))
    _run(layout, stage, row)
    return 0


def opened(path: Path) -> "Layout":
    """Load a configuration, and set torch's threads."""
    import torch

    from dsacap.config.experiment import load_config
    from dsacap.runs.layout import Layout

    config = load_config(path)
    torch.set_num_threads(config.threads)
    return Layout(config)


def require_section(layout: "Layout", path: Path, section: str) -> None:
    """Raise a UserError unless the configuration has a section: one of `_SECTIONS`."""
    if not getattr(layout.config, section):
        raise UserError(f"{path}: {_SECTIONS[section]}")


def row_of(layout: "Layout", options: argparse.Namespace, others: Collection[Row] = ()) -> Row:
    """Return the row that the options name.

    Args:
        layout: The layout of the configuration.
        options: `--system` and `--seed`.
        others: Rows that are not trained, such as the references.

    Raises:
        UserError: The configuration has no such row.
    """
    row = (options.system, vars(options).get("seed") or 0)
    if row in layout.runs or row in others:
        return row
    known = ", ".join(f"{system} (seed {seed})" for system, seed in layout.runs)
    text = f"no system {row[0]!r} with seed {row[1]}; known: {known}"
    raise UserError(f"{options.config}: {text}")


def _prediction_of(layout: "Layout", options: argparse.Namespace) -> Row:
    """Return the row of `predictions` that the options name."""
    given, name = layout.config.predictions, options.row
    if name not in given:
        known = ", ".join(given) or "none"
        text = f"no row {name!r} among its predictions; known: {known}"
        raise UserError(f"{options.config}: {text}")
    return name, 0


def _has_no_such_stage(
    layout: "Layout", options: argparse.Namespace, row: Row, rows: Collection[Row]
) -> str:
    """Say why a stage, which only `rows` have, cannot run for a row of the configuration."""
    system = row[0]
    match options.verb:
        case "train":
            base = layout.config.systems[system].tuned_from
            return f"{system} is tuned from {base}, not trained; use the verb tune"
        case "tune":
            remedy = "use the verb train, or give it tuned_from and tuning"
            return f"{system} is trained, not tuned; {remedy}"
        case "teach":
            return f"{system} has no teacher: set distilled_from"
        case "checkpoint":
            return f"predictions.{system}: is a file; it has no checkpoint to caption by"
        case "complete":
            return f"{options.config}: no claim compares continuations by {system!r}"
    known = ", ".join(f"{name} (seed {seed})" for name, seed in rows)
    return (
        f"{system} (seed {row[1]}): has no stage {options.verb}; those that do: {known or 'none'}"
    )


def _rehearse(layout: "Layout", system: str, seed: int) -> int:
    from dsacap.stages.dry_run import rehearse

    arithmetic.prepare(layout.config.arithmetic, layout.config.device)
    report = rehearse(layout, system, seed)
    if is_main():
        print(report)
    return 0


def _run(layout: "Layout", stage: Stage, row: Row | None) -> None:
    from dsacap.common.locks import writing
    from dsacap.runs.layout import manifest_of
    from dsacap.runs.manifest import run_stage
    from dsacap.runs.stage_files import check_inputs, files_of

    config, of = layout.config, row or ()
    module, _, name = stage.run.partition(":")
    function = getattr(import_module(module), name)
    arithmetic.prepare(config.arithmetic, config.device)
    manifest = manifest_of(stage.place(layout, *of))
    # Of several processes, one writes.
    with writing(manifest) if is_main() else contextlib.nullcontext():
        check_inputs(layout, stage.verb, row)
        run_stage(
            stage.verb,
            config,
            lambda: function(layout, *of),
            manifest,
            lambda: files_of(layout, stage.verb, row),
        )


def _download(options: argparse.Namespace) -> int:
    from dsacap.stages.download import download

    layout = opened(options.config)
    given = {"folder": vars(options)["from"], "offline": options.offline}
    update = {name: value for name, value in given.items() if value}
    download(layout, options.file, layout.config.downloads.model_copy(update=update))
    return 0


def _unpack(options: argparse.Namespace) -> int:
    from dsacap.stages.download import unpack

    unpack(opened(options.config), options.file)
    return 0
