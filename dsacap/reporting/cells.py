"""The cells of a table as text, for Markdown, LaTeX and the README alike."""

from collections.abc import Iterable, Mapping

from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.reporting.table_file import HELD_OUT, Table
from dsacap.runs.layout import ENCODER, HUMAN, PREDICTIONS

# Metric -> digits, of each section.
QUALITY = {
    "CIDEr": 1,
    "true": 1,
    "grammatical": 1,
    "BLEU-4": 1,
    "METEOR": 1,
    "ROUGE-L": 1,
    "SPICE": 1,
}
SHORTER_BLEU = {"BLEU-1": 1, "BLEU-2": 1, "BLEU-3": 1}
DIVERSITY = {
    "Div-1": 3,
    "Div-2": 3,
    "mBLEU-4": 3,
    "Self-CIDEr": 3,
    "unique": 2,
    "novel": 1,
    "vocabulary": 0,
}
AGAINST_HUMANS = {
    f"{HELD_OUT}{metric}": 1 for metric in ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L", "SPICE")
} | {"in_train": 1}
NOTHING = "-"
STILL_RISING = (
    "†: validation CIDEr was still rising: higher at the last evaluation than at the one before, by"
    " more than chance over the validation images; more training would help this row."
)
OWN_ENCODER = (
    "‡: with an encoder of its own, which was trained too (fine_tune). Its features differ from"
    " those of the other rows; parameters and latency do not include the encoder."
)
_TRAINING = {"parameters": 0, "images_seen": 0, "train_cpu_seconds": 0, "val_CIDEr": 1}
_LATENCY = {"median_ms": 1, "p90_ms": 1, "images_per_s": 0}
_WITH_INTERVAL = ("CIDEr", "SPICE", f"{HELD_OUT}CIDEr")
Cells = tuple[list[str], list[list[str]]]  # headers, rows
Row = tuple[str, str, str]  # system, decoding, marked label


def labels_of(config: Config) -> dict[str, str]:
    """Return the name by which tables show each system."""
    return {name: system.label or name for name, system in config.systems.items()}


def rows_of(table: Table) -> list[Row]:
    """Return every row; the captions of the references come first.

    They are called "Human" where humans wrote them.
    """
    config = table.experiment
    generated = isinstance(config.dataset, Scenes)
    rows = [(HUMAN, "references", "References" if generated else "Human")]
    for name, system in config.systems.items():
        label = system.label or name
        label += " †" if _mean(table, name, "", "val_still_rising") else ""
        label += " ‡" if config.sees_pixels(name) else ""
        rows += [(name, decoding, label) for decoding in system.decodings]
    others = [(name, PREDICTIONS, of.label or name) for name, of in config.predictions.items()]
    return rows + others


def main_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the first row of each system: its main decoding."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row[0], row)
    return list(first.values())


def cell(table: Table, system: str, decoding: str, metric: str, digits: int) -> str:
    """Return the mean over seeds, with the interval and the spread over seeds where there are."""
    found = table.rows(system, decoding, metric)
    if found.empty:
        return NOTHING
    text = f"{found.value.mean():.{digits}f}"
    if metric in _WITH_INTERVAL and found.ci_low.notna().all():
        text += f" ± {(found.ci_high - found.ci_low).mean() / 2:.1f}"
    if len(found) > 1:
        text += f" (sd {found.value.std():.{digits}f})"
    return text


def metric_cells(
    table: Table,
    metrics: Mapping[str, int],
    extra: Mapping[str, str] | None = None,
    rows: Iterable[Row] | None = None,
) -> Cells:
    """Return the cells of every row that has one of `metrics`.

    Args:
        table: The table.
        metrics: Metric -> digits; those that no row has get no column.
        extra: Header -> text of further columns, the same in each row.
        rows: The rows to consider; None for all.
    """
    present = {m: digits for m, digits in metrics.items() if (table.numbers.metric == m).any()}
    extra = extra or {}
    lines = []
    for system, decoding, label in rows_of(table) if rows is None else rows:
        cells = [
            cell(table, system, decoding, metric, digits) for metric, digits in present.items()
        ]
        if any(text != NOTHING for text in cells):
            lines.append([label, decoding, *cells, *extra.values()])
    names = [
        metric.removeprefix(HELD_OUT).removeprefix("SPICE-").replace("_", " ") for metric in present
    ]
    return ["System", "Decoding", *names, *extra], lines


def latency_title(table: Table) -> str:
    """Return "Latency on" and the machine; the table has measured times."""
    machine = table.manifests["time"]["facts"]["machine"]
    return f"Latency on {machine['device']} ({machine['cores']} cores), {machine['threads']} thread"


def latency_cells(table: Table) -> Cells:
    """Return the cells of every decoding and of the encoder; the table has measured times."""
    sizes = table.experiment.timing.batch_sizes
    headers = ["System", "Decoding"]
    for size in sizes:
        headers += [f"batch {size}: ms", "p90", "images/s"]
    rows = []
    for system, decoding, label in [*rows_of(table), (ENCODER, "", "Encoder")]:
        cells = [
            cell(table, system, decoding, f"latency_{metric}_batch_{size}", digits)
            for size in sizes
            for metric, digits in _LATENCY.items()
        ]
        if any(text != NOTHING for text in cells):
            rows.append([label, decoding, *cells])
    return headers, rows


def training_cells(table: Table) -> Cells:
    """Return the cells of every trained system, as means over its seeds."""
    rows = []
    for name, label in labels_of(table.experiment).items():
        values = {metric: _mean(table, name, "", metric) for metric in _TRAINING}
        if None not in values.values():
            cells = (f"{values[metric]:,.{digits}f}" for metric, digits in _TRAINING.items())
            rows.append([label, *cells])
    return ["System", "Parameters", "Images seen", "CPU seconds", "Validation CIDEr"], rows


def _mean(table: Table, system: str, decoding: str, metric: str) -> float | None:
    found = table.rows(system, decoding, metric)
    return None if found.empty else float(found.value.mean())
