"""trials.md: the settings that were tried for each system on the validation split, and the best.

A trial is a training with other settings, or another decoding of one. It is measured by CIDEr on
the images that choose the weights, never on the test split.
"""

import json
from dataclasses import dataclass
from math import inf
from shlex import join

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing, write_text
from dsacap.reporting.cells import labels_of
from dsacap.reporting.markdown import commits_of
from dsacap.reporting.pipe_table import markdown
from dsacap.runs.layout import Layout, manifest_of
from dsacap.scoring.random_effects import Effect, effect

_EXPLAINED = (
    "CIDEr (x100) on {images} validation images, by one seed. Every system has {count} trials, of"
    " which the first changes nothing. Intervals (95 %) are of the difference from it, over images;"
    " what another seed would change is not in them, and the best of several is partly the"
    " luckiest. Test images have no part in this."
)
_MISSING = "-"


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        cider_I: CIDEr (x100) of each validation image.
        more: By how much its CIDEr exceeds that of the system's first trial; None if it is the
            first, or the first is not finished.
        cpu_seconds: CPU seconds of its training.
        command: The command that trained it.
        made: The manifests of its stages.
    """

    cider_I: np.ndarray
    more: Effect | None
    cpu_seconds: float
    command: str
    made: tuple[dict, dict]


def write_trials(layout: Layout) -> None:
    """Write trials.csv and, last, trials.md.

    Raises:
        UserError: No trial is finished.
    """
    found = _finished(layout)
    done = [trial for of_system in found.values() for trial in of_system.values() if trial]
    if not done:
        raise UserError(
            f"{layout.root}: no trial is finished; run snakemake with the path of"
            f" {layout.trials_table.name}"
        )
    with replacing(layout.trials_table.with_suffix(".csv")) as temporary:
        pd.DataFrame(_records(layout, found)).to_csv(temporary, index=False)
    labels = labels_of(layout.config)
    images, count = len(done[0].cider_I), len(next(iter(found.values())))
    parts = [
        f"# {layout.config.name}: trials on validation",
        _EXPLAINED.format(images=images, count=count),
        _summary(found, labels),
    ]
    for system, trials in found.items():
        parts += [f"## {labels[system]}", _of_system(layout, system, trials)]
    commits = ", ".join(commits_of(manifest for trial in done for manifest in trial.made))
    parts.append(
        f"The commands are in trials.csv; the first: `{done[0].command}`. commit {commits};"
        f" {done[0].made[0]['host']['cpu']}"
    )
    write_text(layout.trials_table, "\n\n".join(parts) + "\n")


def _finished(layout: Layout) -> dict[str, dict[str, Trial | None]]:
    """System -> trial -> what it gave; None if it is not finished."""
    found: dict[str, dict[str, Trial | None]] = {}
    for (system, seed), name in layout.trials:
        of_system = found.setdefault(system, {})
        tried = layout.tried(system, name)
        scores, weights = tried.validation(system, seed), tried.system(system, seed)
        if not (scores.exists() and manifest_of(weights).exists()):
            of_system[name] = None
            continue
        *_, decoding = tried.config.systems[system].decodings  # the changed one is the last
        cider_I = 100 * np.array([*read_json(scores)[decoding].values()])
        first = next(iter(of_system.values()), None)
        more = effect([(cider_I - first.cider_I)[None]]) if first else None
        made = read_json(manifest_of(weights)), read_json(manifest_of(scores))
        cost = made[0]["facts"]["train_cpu_seconds"]
        of_system[name] = Trial(cider_I, more, cost, join(made[0]["command"]), made)
    return found


def _best(trials: dict[str, Trial | None]) -> str:
    """The name of the finished trial with most CIDEr; some trial is finished."""
    return max(trials, key=lambda name: trial.cider_I.mean() if (trial := trials[name]) else -inf)


def _summary(found: dict[str, dict[str, Trial | None]], labels: dict[str, str]) -> str:
    rows = []
    for system, trials in found.items():
        done = sum(trial is not None for trial in trials.values())
        best = _best(trials)
        trial = trials[best]
        finished = f"{done} of {len(trials)}"
        if trial is None:
            rows.append([labels[system], *[_MISSING] * 4, finished])
            continue
        rows.append([labels[system], best, f"{trial.cider_I.mean():.1f}", *_more(trial), finished])
    return markdown(["System", "Best", "CIDEr", "more", "95 % interval", "finished"], rows, texts=2)


def _of_system(layout: Layout, system: str, trials: dict[str, Trial | None]) -> str:
    rows, best = [], _best(trials)
    for name, trial in trials.items():
        changes = layout.config.trials[system][name].changes
        settings = ", ".join(f"{key}: {value}" for key, value in changes.items()) or _MISSING
        if trial is None:
            rows.append([name, settings, "not finished", *[_MISSING] * 3])
            continue
        cider = f"{trial.cider_I.mean():.1f}"
        shown = f"**{cider}**" if name == best else cider
        rows.append([name, settings, shown, *_more(trial), f"{trial.cpu_seconds:,.0f}"])
    headers = ["Trial", "Changed", "CIDEr", "more", "95 % interval", "CPU-s"]
    return markdown(headers, rows, texts=2)


def _more(trial: Trial) -> list[str]:
    more = trial.more
    if more is None:
        return [_MISSING, _MISSING]
    return [f"{more.value:+.1f}", f"{more.low:+.1f} to {more.high:+.1f}"]


def _records(layout: Layout, found: dict[str, dict[str, Trial | None]]) -> list[dict]:
    """The rows of trials.csv."""
    return [
        {
            "dataset": layout.config.name,
            "system": system,
            "trial": name,
            **{
                part: json.dumps(getattr(layout.config.trials[system][name], part))
                for part in ("model", "training", "decoding")
            },
            "CIDEr": trial.cider_I.mean(),
            "more": trial.more.value if trial.more else None,
            "low": trial.more.low if trial.more else None,
            "high": trial.more.high if trial.more else None,
            "images": len(trial.cider_I),
            "best": name == _best(trials),
            "cpu_seconds": trial.cpu_seconds,
            "command": trial.command,
        }
        for system, trials in found.items()
        for name, trial in trials.items()
        if trial
    ]
