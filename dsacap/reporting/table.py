"""The table: Markdown to read, a tidy CSV to compute with, and JSON that holds both the numbers and how each stage made them.

Reads result files only. One line of the CSV is one number: dataset, system, decoding, steps, seed, metric, value, ci_low, ci_high, n, unit.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dsacap.files import read_json, replacing, write_json, write_text
from dsacap.layout import HUMAN, Layout, manifest_of
from dsacap.reporting.markdown import HELD_OUT, Report, render

COLUMNS = ("dataset", "system", "decoding", "steps", "seed", "metric", "value", "ci_low", "ci_high", "n", "unit")

# Published scores are percentages, CIDEr included; counts and shares keep their own units.
_PERCENT = {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "grammatical", "true", "novel"}
_UNITS = {"unique": "captions", "vocabulary": "words"}


def write_tables(layout: Layout) -> None:
    """Writes table.csv, table.json and, last, table.md, which Snakemake waits for."""
    manifests = {name: read_json(manifest_of(path)) for name, path in _stage_outputs(layout).items()}
    rows = [*_score_rows(layout), *_latency_rows(layout), *_training_rows(layout, manifests)]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    folder = layout.table.parent
    with replacing(folder / "table.csv") as temporary:
        numbers.to_csv(temporary, index=False)
    records = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in numbers.to_dict("records")]
    write_json(folder / "table.json", {"rows": records, "manifests": manifests})
    write_text(layout.table, render(Report(layout.config, numbers, manifests, _signatures(layout))))


def _stage_outputs(layout: Layout) -> dict[str, Path]:
    outputs = {"data": layout.data, "encoder": layout.encoder, "features": layout.features, "time": layout.latency}
    outputs[f"score {HUMAN}"] = layout.scores(HUMAN, 0)
    for system, seed in layout.runs:
        name = f"{system} seed {seed}"
        outputs[f"train {name}"] = layout.system(system, seed)
        outputs[f"caption {name}"] = layout.captions(system, seed)
        outputs[f"score {name}"] = layout.scores(system, seed)
    return outputs


def _signatures(layout: Layout) -> list[str]:
    """Of every metric that stands in the table; all rows share them, but for k."""
    found: dict[str, str] = {}
    for system, seed in layout.runs:
        for parts in read_json(layout.scores(system, seed)).values():
            for metric, score in (parts["quality"] | parts["diversity"]).items():
                found.setdefault(metric, score["signature"])
    return list(found.values())


def _row(layout: Layout, system: str, decoding: str, seed: int | None, metric: str, value: float, unit: str, ci=None, n=None) -> dict:
    options = layout.config.systems[system].decodings.get(decoding, {}) if system in layout.config.systems else {}
    low, high = ci or (None, None)
    values = (layout.config.name, system, decoding, options.get("steps"), seed, metric, value, low, high, n, unit)
    return dict(zip(COLUMNS, values, strict=True))


def _score_rows(layout: Layout) -> Iterable[dict]:
    for system, seed in [(HUMAN, None), *layout.runs]:
        scores = read_json(layout.scores(system, seed or 0))
        for decoding, parts in scores.items():
            leaks = parts["leaks"]
            yield _row(layout, system, decoding, seed, "in_train", 100 * leaks["verbatim"] / leaks["captions"], "x100", n=leaks["captions"])
            named = {HELD_OUT + metric: score for metric, score in parts["held_out"].items()}
            named |= {f"best_of_{parts['samples']}_{metric}": score for metric, score in parts["oracle"].items()}
            for metric, score in (parts["quality"] | named | parts["diversity"]).items():
                scale = 100 if metric.split("_")[-1] in _PERCENT else 1
                interval = [scale * bound for bound in score["interval"]] if score["interval"] else None
                unit = "x100" if scale == 100 else _UNITS.get(metric, "ratio")
                yield _row(layout, system, decoding, seed, metric, scale * score["value"], unit, interval, score["n"])


def _latency_rows(layout: Layout) -> Iterable[dict]:
    for timed in read_json(layout.latency)["rows"]:
        for metric, unit in (("median_ms", "ms"), ("p90_ms", "ms"), ("images_per_s", "images/s")):
            name = f"latency_{metric}_batch_{timed['batch_size']}"
            yield _row(layout, timed["system"], timed["decoding"], None, name, timed[metric], unit, n=timed["iterations"])


def _training_rows(layout: Layout, manifests: dict[str, dict[str, Any]]) -> Iterable[dict]:
    units = {"parameters": "count", "images_seen": "images", "train_cpu_seconds": "s", "val_CIDEr": "x100", "val_still_rising": "0 or 1"}
    for system, seed in layout.runs:
        facts = manifests[f"train {system} seed {seed}"]["facts"]
        for metric, unit in units.items():
            value = float(facts[metric]) * (100 if unit == "x100" else 1)
            yield _row(layout, system, "", seed, metric, value, unit)
