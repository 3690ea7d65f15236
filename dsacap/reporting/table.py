"""The table: Markdown to read, a tidy CSV to compute with, and JSON that holds both the numbers and how each stage made them.

Reads result files only. One line of the CSV is one number: dataset, system, decoding, steps, seed, metric, value, ci_low, ci_high, n, unit.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing, write_json, write_text
from dsacap.reporting.citation import write_citation
from dsacap.reporting.markdown import HELD_OUT, Report, labels_of, render, render_samples
from dsacap.reporting.table_file import COLUMNS
from dsacap.reporting.tradeoff import of_seed, write_plot
from dsacap.runs.layout import HUMAN, Layout, manifest_of
from dsacap.scoring.score import PERCENT

# Published scores are percentages, CIDEr included; counts and shares keep their own units.
_PERCENT = PERCENT | {"grammatical", "true", "novel"}
Runs = Sequence[tuple[str, int]]  # (system, seed)
BEST_OF = "best_of_"  # before k and the name of a metric
_UNITS = {"unique": "captions", "vocabulary": "words"}


def write_tables(layout: Layout) -> None:
    """Writes table.csv, .json, .svg (where latency was measured), .bib, .tex and, last, table.md. UserError where no row is finished."""
    if not layout.finished:
        raise UserError(f"{layout.root}: no row is finished; run the pipeline first")
    manifests = {
        name: read_json(manifest_of(path)) for name, path in _stage_outputs(layout).items()
    }
    timed, runs = "time" in manifests, layout.finished
    latencies = _latency_rows(layout) if timed else ()
    numbers = write_numbers(
        [*score_rows(layout, runs), *latencies, *training_rows(layout, runs, manifests)],
        layout.table,
    )
    folder = layout.table.parent
    records = [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in numbers.to_dict("records")
    ]
    signatures, no_spice = _of_scores(layout)
    config = layout.config.model_dump(mode="json")
    write_json(
        folder / "table.json",
        {"config": config, "signatures": signatures, "rows": records, "manifests": manifests},
    )
    if timed:
        of_first = of_seed(numbers, layout.config.seeds[0])
        write_plot(
            of_first,
            labels_of(layout.config),
            layout.config.timing.batch_sizes,
            layout.table.with_suffix(".svg"),
        )
    else:
        layout.table.with_suffix(".svg").unlink(missing_ok=True)  # of another run
    version = write_citation(layout.table.with_suffix(".csv"))
    write_text(
        layout.table,
        render(Report(layout.config, numbers, manifests, _printed(signatures), no_spice, version)),
    )


def write_sample_table(layout: Layout) -> None:
    """Writes samples.csv and samples.md: what `score-samples` computed."""
    scored = [
        (system, seed, *item)
        for system, seed in layout.runs
        for item in read_json(layout.sample_scores(system, seed)).items()
    ]
    rows = [
        row
        for system, seed, decoding, scores in scored
        for row in _named_rows(
            layout, system, decoding, seed, scores["diversity"] | _best_of(scores)
        )
    ]
    manifests = {
        f"{system} seed {seed}": read_json(manifest_of(layout.sample_scores(system, seed)))
        for system, seed in layout.runs
    }
    signatures = sorted(
        {score["signature"] for *_, scores in scored for score in scores["diversity"].values()}
    )
    numbers = write_numbers(rows, layout.sample_table)
    write_text(
        layout.sample_table,
        render_samples(Report(layout.config, numbers, manifests, signatures, None)),
    )


def write_numbers(rows: list[dict], page: Path) -> pd.DataFrame:
    """The rows as a table, which is also written beside `page` as CSV."""
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    with replacing(page.with_suffix(".csv")) as temporary:
        numbers.to_csv(temporary, index=False)
    return numbers


def _stage_outputs(layout: Layout) -> dict[str, Path]:
    outputs = {"data": layout.data, "encoder": layout.encoder, "features": layout.features}
    if layout.latency.exists():
        outputs["time"] = layout.latency
    tunings = [layout.config.systems[system].tuning for system, _ in layout.finished]
    if any(tuning and tuning.reconstructs for tuning in tunings):
        outputs["generator"] = layout.generator
    if manifest_of(layout.pixels).exists():  # of restored rows they are not here
        outputs["pixels"] = layout.pixels
    for name, brought in layout.config.predictions.items():
        if brought.checkpoint:
            outputs[f"checkpoint {name}"] = layout.predictions(name)
    for scored in (HUMAN, *layout.config.predictions):
        outputs[f"score {scored}"] = layout.scores(scored, 0)
    for system, seed in layout.finished:
        name = f"{system} seed {seed}"
        if (
            layout.config.systems[system].distilled_from and layout.lessons(system, seed).exists()
        ):  # a restored row comes without
            outputs[f"teach {name}"] = layout.lessons(system, seed)
        outputs[f"train {name}"] = layout.system(system, seed)
        outputs[f"caption {name}"] = layout.captions(system, seed)
        outputs[f"score {name}"] = layout.scores(system, seed)
    return outputs


def _of_scores(layout: Layout) -> tuple[dict[str, str], str | None]:
    """The signature of every metric in the table, which all rows share; and why there is no SPICE, where it was wanted."""
    signatures, reason = {}, None
    for system, seed in layout.finished:
        for parts in read_json(layout.scores(system, seed)).values():
            for metric, score in named_scores(parts).items():
                signatures.setdefault(metric, score["signature"])
                reason = score.get("reason", reason)
    return signatures, reason


def _printed(signatures: dict[str, str]) -> list[str]:
    """Those below the table: of a metric against fewer references, or of the best of several captions, the metric's own says enough."""
    return [
        signature
        for metric, signature in signatures.items()
        if not metric.startswith((HELD_OUT, BEST_OF))
    ]


def row(
    layout: Layout,
    system: str,
    decoding: str,
    seed: int | None,
    metric: str,
    value: float,
    unit: str,
    ci=None,
    n=None,
) -> dict:
    low, high = ci or (None, None)
    values = (
        layout.config.name,
        system,
        decoding,
        layout.config.steps_of(system, decoding),
        seed,
        metric,
        value,
        low,
        high,
        n,
        unit,
    )
    return dict(zip(COLUMNS, values, strict=True))


def scale_of(metric: str) -> int:
    """By what a stored score is multiplied where it is shown."""
    return 100 if metric.split("_")[-1] in _PERCENT else 1


def score_rows(layout: Layout, runs: Runs) -> Iterable[dict]:
    for system, seed in [
        (HUMAN, None),
        *runs,
        *((name, None) for name in layout.config.predictions),
    ]:
        yield from rows_of_scores(layout, system, seed, read_json(layout.scores(system, seed or 0)))


def rows_of_scores(
    layout: Layout, system: str, seed: int | None, scores: dict[str, dict]
) -> Iterable[dict]:
    """The table's rows of one system and seed, from what `score_decodings` or `score_humans` returned."""
    for decoding, parts in scores.items():
        leaks = parts["leaks"]
        yield row(
            layout,
            system,
            decoding,
            seed,
            "in_train",
            100 * leaks["verbatim"] / leaks["captions"],
            "x100",
            n=leaks["captions"],
        )
        yield from _named_rows(layout, system, decoding, seed, named_scores(parts))


def named_scores(parts: dict[str, Any]) -> dict[str, dict]:
    """The scores of one decoding, by the names that they have in the table."""
    held_out = {HELD_OUT + metric: score for metric, score in parts["held_out"].items()}
    return parts["quality"] | held_out | _best_of(parts) | parts["diversity"]


def _best_of(parts: dict[str, Any]) -> dict[str, dict]:
    return {
        f"{BEST_OF}{parts['samples']}_{metric}": score for metric, score in parts["oracle"].items()
    }


def _named_rows(
    layout: Layout, system: str, decoding: str, seed: int | None, scores: dict[str, dict]
) -> Iterable[dict]:
    """A row for each score that could be computed."""
    for metric, score in scores.items():
        if score["value"] is not None:
            scale = scale_of(metric)
            interval = [scale * bound for bound in score["interval"]] if score["interval"] else None
            unit = "x100" if scale == 100 else _UNITS.get(metric, "ratio")
            yield row(
                layout,
                system,
                decoding,
                seed,
                metric,
                scale * score["value"],
                unit,
                interval,
                score["n"],
            )


def _latency_rows(layout: Layout) -> Iterable[dict]:
    measured = read_json(layout.latency)["rows"]
    for timed in measured:
        for metric, unit in (
            ("median_ms", "ms"),
            ("p90_ms", "ms"),
            ("p99_ms", "ms"),
            ("images_per_s", "images/s"),
        ):
            name = f"latency_{metric}_batch_{timed['batch_size']}"
            yield row(
                layout,
                timed["system"],
                timed["decoding"],
                None,
                name,
                timed[metric],
                unit,
                n=timed["iterations"],
            )
    # Of a batch of one. Those of later decodings hold what counting the costs of earlier ones took, so a process has that of its first.
    costs = {(of["system"], of["decoding"]): of for of in measured if "process_mib" in of}
    for system in dict.fromkeys(system for system, _ in costs):
        value = min(of["process_mib"] for (name, _), of in costs.items() if name == system)
        yield row(layout, system, "", None, "memory_process_mib", value, "MiB")
    for (system, decoding), of in costs.items():
        if "allocated_mib" in of:
            yield row(
                layout, system, decoding, None, "memory_allocated_mib", of["allocated_mib"], "MiB"
            )


def training_rows(
    layout: Layout, runs: Runs, manifests: dict[str, dict[str, Any]]
) -> Iterable[dict]:
    units = {
        "parameters": "count",
        "images_seen": "images",
        "train_cpu_seconds": "s",
        "val_CIDEr": "x100",
        "val_still_rising": "0 or 1",
    }
    for system, seed in runs:
        facts = manifests[f"train {system} seed {seed}"]["facts"]
        for metric, unit in units.items():
            value = float(facts[metric]) * (100 if unit == "x100" else 1)
            yield row(layout, system, "", seed, metric, value, unit)
