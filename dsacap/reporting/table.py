"""The main table of a run: Markdown to read, a tidy CSV to compute with, JSON, LaTeX and BibTeX.

It is made from result files alone. The numbers and the manifests of all stages are collected in one
`Table`, from which every file is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_text
from dsacap.reporting.citation import write_citation
from dsacap.reporting.diversity_curves import diversity_section
from dsacap.reporting.markdown import labels_of, render, render_samples
from dsacap.reporting.table_file import (
    BEST_OF,
    COLUMNS,
    HELD_OUT,
    Table,
    numbers_of,
    write_csv,
    write_table,
)
from dsacap.reporting.tradeoff import of_seed
from dsacap.reporting.tradeoff_plot import write_plot
from dsacap.reporting.units import scale_of, unit_of
from dsacap.runs.layout import HUMAN, Layout, manifest_of

_LATENCIES = {"median_ms": "ms", "p90_ms": "ms", "p99_ms": "ms", "images_per_s": "images/s"}
_TRAINING = {
    "parameters": "count",
    "images_seen": "images",
    "train_cpu_seconds": "s",
    "val_CIDEr": "x100",
    "val_still_rising": "0 or 1",
}
Runs = Sequence[tuple[str, int]]  # (system, seed)


def write_tables(layout: Layout) -> None:
    """Write table.csv, .json, .svg (where latency was measured), .bib, .tex and, last, table.md.

    With a section `diversity`, table-diversity.svg is written too.

    Raises:
        UserError: No row is finished.
    """
    if not layout.finished:
        raise UserError(f"{layout.root}: no row is finished; run the pipeline first")
    table, no_spice = _collect(layout)
    write_table(table)
    config, plot = layout.config, layout.table.with_suffix(".svg")
    if "time" in table.manifests:
        of_first = of_seed(table.numbers, config.seeds[0])
        write_plot(of_first, labels_of(config), config.timing.batch_sizes, plot)
    else:
        plot.unlink(missing_ok=True)  # of another run
    version = write_citation(table)
    diversity = diversity_section(layout, layout.table)
    write_text(layout.table, render(table, no_spice, version, diversity))


def write_sample_table(layout: Layout) -> None:
    """Write samples.csv and samples.md from the results of `score-samples`."""
    rows: list[dict] = []
    manifests: dict[str, dict] = {}
    signatures: dict[str, str] = {}
    for system, seed in layout.runs:
        path = layout.sample_scores(system, seed)
        manifests[f"{system} seed {seed}"] = read_json(manifest_of(path))
        for decoding, parts in read_json(path).items():
            scores = parts["diversity"] | _best_of(parts)
            rows += _named_rows(layout, system, decoding, seed, scores)
            signatures |= {name: of["signature"] for name, of in parts["diversity"].items()}
    table = table_of(layout, layout.sample_table, rows, manifests, signatures)
    write_csv(table.numbers, table.path)
    write_text(layout.sample_table, render_samples(table))


def _collect(layout: Layout) -> tuple[Table, str | None]:
    """The table of all that is finished, and why it has no SPICE, if that could not be computed."""
    manifests = {
        name: read_json(manifest_of(path)) for name, path in _stage_outputs(layout).items()
    }
    rows: list[dict] = []
    signatures: dict[str, str] = {}  # all rows share them
    no_spice = None
    for system, seed, scores in _scores(layout, layout.finished):
        rows += rows_of_scores(layout, system, seed, scores)
        for parts in scores.values() if seed is not None else ():
            for metric, score in named_scores(parts).items():
                signatures.setdefault(metric, score["signature"])
                no_spice = score.get("reason", no_spice)
    if "time" in manifests:
        rows += _latency_rows(layout)
    rows += training_rows(layout, layout.finished, manifests)
    return table_of(layout, layout.table, rows, manifests, signatures), no_spice


def table_of(
    layout: Layout,
    page: Path,
    rows: Iterable[dict],
    manifests: dict[str, dict],
    signatures: dict[str, str],
) -> Table:
    """Return the table that is shown on a Markdown page; its CSV is next to the page."""
    csv, config = page.with_suffix(".csv"), layout.config
    plain = config.model_dump(mode="json")
    return Table(csv, numbers_of(rows), manifests, plain, signatures, config)


def _stage_outputs(layout: Layout) -> dict[str, Path]:
    outputs = {"data": layout.data, "encoder": layout.encoder, "features": layout.features}
    if layout.latency.exists():
        outputs["time"] = layout.latency
    tunings = [layout.config.systems[system].tuning for system, _ in layout.finished]
    if any(tuning and tuning.reconstructs for tuning in tunings):
        outputs["generator"] = layout.generator
    if manifest_of(layout.pixels).exists():  # restored rows come without them
        outputs["pixels"] = layout.pixels
    for name, predictions in layout.config.predictions.items():
        if predictions.checkpoint:
            outputs[f"checkpoint {name}"] = layout.predictions(name)
    for name in (HUMAN, *layout.config.predictions):
        outputs[f"score {name}"] = layout.scores(name, 0)
    for system, seed in layout.finished:
        name = f"{system} seed {seed}"
        distilled = layout.config.systems[system].distilled_from
        if distilled and layout.lessons(system, seed).exists():  # restored rows come without them
            outputs[f"teach {name}"] = layout.lessons(system, seed)
        outputs[f"train {name}"] = layout.system(system, seed)
        outputs[f"caption {name}"] = layout.captions(system, seed)
        outputs[f"score {name}"] = layout.scores(system, seed)
    return outputs


def _scores(layout: Layout, runs: Runs) -> Iterator[tuple[str, int | None, dict[str, dict]]]:
    """Read the scores of humans, of `runs` and of predictions files, one file at a time.

    They contain a score per image, so together they can be larger than memory.
    """
    predictions = [(name, None) for name in layout.config.predictions]
    for system, seed in [(HUMAN, None), *runs, *predictions]:
        yield system, seed, read_json(layout.scores(system, seed or 0))


def row(
    layout: Layout,
    system: str,
    decoding: str,
    seed: int | None,
    metric: str,
    value: float,
    unit: str,
    ci: Sequence[float] | None = None,
    n: int | None = None,
) -> dict[str, Any]:
    """Return one number of the table, by column; `ci` is its 95 % interval, `n` its images."""
    steps = layout.config.steps_of(system, decoding)
    place = (layout.config.name, system, decoding, steps, seed, metric)
    return dict(zip(COLUMNS, (*place, value, *(ci or (None, None)), n, unit), strict=True))


def score_rows(layout: Layout, runs: Runs) -> Iterable[dict]:
    """Yield the table's rows for humans, for the given runs and for predictions files."""
    for system, seed, scores in _scores(layout, runs):
        yield from rows_of_scores(layout, system, seed, scores)


def rows_of_scores(
    layout: Layout, system: str, seed: int | None, scores: dict[str, dict]
) -> Iterable[dict]:
    """Yield the table's rows of one system and seed.

    Args:
        layout: The layout of the run.
        system: A system, a predictions file or `HUMAN`.
        seed: None where there is none.
        scores: By decoding, what `score_decodings` or `score_humans` returned.
    """
    for decoding, parts in scores.items():
        leaks = parts["leaks"]
        share = 100 * leaks["verbatim"] / leaks["captions"]
        n = leaks["captions"]
        yield row(layout, system, decoding, seed, "in_train", share, "x100", n=n)
        yield from _named_rows(layout, system, decoding, seed, named_scores(parts))


def named_scores(parts: dict[str, Any]) -> dict[str, dict]:
    """Return the scores of one decoding by the names that they have in the table."""
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
            value, n, unit = scale * score["value"], score["n"], unit_of(metric)
            yield row(layout, system, decoding, seed, metric, value, unit, interval, n)


def _latency_rows(layout: Layout) -> Iterable[dict]:
    measured = read_json(layout.latency)["rows"]
    for timed in measured:
        name = timed["system"], timed["decoding"], None
        for metric, unit in _LATENCIES.items():
            column = f"latency_{metric}_batch_{timed['batch_size']}"
            yield row(layout, *name, column, timed[metric], unit, n=timed["iterations"])
    # The memory of a batch of one. A process still holds what counting the costs of its earlier
    # decodings allocated, so that of its first decoding counts for the system: the smallest.
    costs = {
        (timed["system"], timed["decoding"]): timed for timed in measured if "process_mib" in timed
    }
    for system in dict.fromkeys(system for system, _ in costs):
        value = min(timed["process_mib"] for (name, _), timed in costs.items() if name == system)
        yield row(layout, system, "", None, "memory_process_mib", value, "MiB")
    for (system, decoding), timed in costs.items():
        if "allocated_mib" in timed:
            value = timed["allocated_mib"]
            yield row(layout, system, decoding, None, "memory_allocated_mib", value, "MiB")


def training_rows(
    layout: Layout, runs: Runs, manifests: dict[str, dict[str, Any]]
) -> Iterable[dict]:
    """Yield the rows on training, which the manifests of the `train` stages record."""
    for system, seed in runs:
        facts = manifests[f"train {system} seed {seed}"]["facts"]
        for metric, unit in _TRAINING.items():
            value = float(facts[metric]) * (100 if unit == "x100" else 1)
            yield row(layout, system, "", seed, metric, value, unit)
