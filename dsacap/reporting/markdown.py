"""table.md, from the tidy numbers."""

import shlex
from dataclasses import dataclass

import pandas as pd

from dsacap.config.experiment import Config
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.published_figures import published_section
from dsacap.reporting.tradeoff import of_seed, tradeoff_section
from dsacap.runs.layout import ENCODER, HUMAN, PREDICTIONS
from dsacap.scoring.metrics.spice import METRICS as SPICE

QUALITY = {
    "CIDEr": 1,
    "BLEU-1": 1,
    "BLEU-2": 1,
    "BLEU-3": 1,
    "BLEU-4": 1,
    "METEOR": 1,
    "ROUGE-L": 1,
}
QUALITY |= {"SPICE": 1, "grammatical": 1, "true": 1}
DIVERSITY = {
    "Div-1": 3,
    "Div-2": 3,
    "mBLEU-4": 3,
    "Self-CIDEr": 3,
    "unique": 2,
    "novel": 1,
    "vocabulary": 0,
}
HELD_OUT = "held_out_"  # before the name of a metric: against all references but one
BESIDE_HUMANS = {
    f"{HELD_OUT}{metric}": 1 for metric in ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L", "SPICE")
} | {"in_train": 1}
_NOTHING = "-"
_WEIGHTS = "/model.safetensors"
LOCAL_CHANGES = " with local changes"
Cells = tuple[list[str], list[list]]  # headers, rows


@dataclass(frozen=True)
class Report:
    """All that is shown: the tidy numbers, and the manifest of every stage by name."""

    config: Config
    numbers: pd.DataFrame
    manifests: dict[str, dict]
    signatures: list[str]
    no_spice: str | None  # why SPICE could not be computed
    version: str | None = None  # by which it is cited


def render(report: Report) -> str:
    """The whole table as Markdown."""
    config = report.config
    of_first = of_seed(report.numbers, config.seeds[0])
    parts = [
        f"# Captioning benchmark: {config.name}",
        config.note or "",
        "Test split, each row scored once; settings and weights chosen on validation. "
        + ("One seed." if len(config.seeds) == 1 else f"Mean over {len(config.seeds)} seeds."),
        _missing(report),
        "## Quality",
        metric_table(report, QUALITY, extra={"SPICE": "n/a"} if report.no_spice else {}),
        _quality_notes(report),
        *_spice(report),
        "## Beside humans",
        metric_table(report, BESIDE_HUMANS),
        "Each reference in turn is left out and the captions are scored against the others, humans and systems alike; the mean over which. "
        "A human caption is the reference left out. in train: share (%) of the test captions that stand word for word in train.",
        f"## Diversity of {config.decoding.samples} captions an image",
        metric_table(report, DIVERSITY),
        "Div-n: distinct n-grams of an image's captions over their words; mBLEU-4: lower is more diverse; unique: different captions of "
        "an image; novel: share (%) not in the training captions word for word. A decoding without randomness has no diversity.",
        *_latency(report),
        tradeoff_section(
            of_first,
            labels_of(config),
            weights_of(config, report.manifests),
            config.timing.batch_sizes,
            "table.svg",
        ),
        "## Training",
        markdown(*training_cells(report)),
        _brought(report),
        published_section(config.published, config.name) if config.published else "",
        "## How this was made",
        _provenance(report),
        "What has to be equal for two numbers to be comparable:",
        "```\n" + "\n".join(report.signatures) + "\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def labels_of(config: Config) -> dict[str, str]:
    """What the tables call each system."""
    return {name: system.label or name for name, system in config.systems.items()}


def weights_of(config: Config, manifests: dict[str, dict]) -> dict[str, str | None]:
    """The sha256 of each system's weights of the first seed, where it was recorded."""
    trained = {
        name: manifests.get(f"train {name} seed {config.seeds[0]}", {}).get("outputs", {})
        for name in config.systems
    }
    return {
        name: next((digest for file, digest in outputs.items() if file.endswith(_WEIGHTS)), None)
        for name, outputs in trained.items()
    }


def render_samples(report: Report) -> str:
    """samples.md: what SPICE says of several captions an image."""
    k = report.config.decoding.samples
    time = sum(manifest["seconds"] for manifest in report.manifests.values())
    parts = [
        f"# {report.config.name}: SPICE of {k} captions an image",
        metric_table(report, {"AllSPICE": 1, f"best_of_{k}_SPICE": 1}),
        "AllSPICE: SPICE's F, x100, of the tuples of all captions of an image joined in one graph (Luo & Shakhnarovich 2020). best of: "
        f"each image's caption with the highest SPICE. Test split; scored in {time:.0f} s; commit {commits(report.manifests)}",
        "```\n" + "\n".join(report.signatures) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _spice(report: Report) -> list[str]:
    """The section on SPICE's parts, where it was computed."""
    if not (report.numbers.metric == "SPICE").any():
        return []
    return [
        "## SPICE",
        metric_table(report, dict.fromkeys(SPICE, 1)),
        "F, precision and recall of scene-graph tuples, and F within each category, x100; a category is the mean over the images whose "
        "references have it (their number stands in table.csv).",
    ]


def _systems(report: Report) -> list[tuple[str, str, str]]:
    """(system, decoding, label) of every row, humans first."""
    rows = [(HUMAN, "references", "Human")]
    for name, system in report.config.systems.items():
        mark = " †" if _value(report, name, "", "val_still_rising") else ""
        mark += " ‡" if report.config.sees_pixels(name) else ""
        rows += [(name, decoding, (system.label or name) + mark) for decoding in system.decodings]
    return rows + [
        (name, PREDICTIONS, brought.label or name)
        for name, brought in report.config.predictions.items()
    ]


def _select(report: Report, system: str, decoding: str, metric: str) -> pd.DataFrame:
    numbers = report.numbers
    return numbers[
        (numbers.system == system) & (numbers.decoding == decoding) & (numbers.metric == metric)
    ]


def _value(report: Report, system: str, decoding: str, metric: str) -> float | None:
    """Mean over the seeds."""
    found = _select(report, system, decoding, metric)
    return None if found.empty else float(found.value.mean())


def metric_table(
    report: Report, metrics: dict[str, int], extra: dict[str, str] | None = None
) -> str:
    return markdown(*metric_cells(report, metrics, extra))


def metric_cells(
    report: Report, metrics: dict[str, int], extra: dict[str, str] | None = None
) -> Cells:
    """Of every row that has one of `metrics` (name -> digits)."""
    present = {m: digits for m, digits in metrics.items() if (report.numbers.metric == m).any()}
    rows = []
    for system, decoding, label in _systems(report):
        cells = [
            _cell(report, system, decoding, metric, digits) for metric, digits in present.items()
        ]
        if any(cell != _NOTHING for cell in cells):
            rows.append([label, decoding, *cells, *(extra or {}).values()])
    names = [
        metric.removeprefix(HELD_OUT).removeprefix("SPICE-").replace("_", " ") for metric in present
    ]
    return ["System", "Decoding", *names, *(extra or {})], rows


def _cell(report: Report, system: str, decoding: str, metric: str, digits: int) -> str:
    found = _select(report, system, decoding, metric)
    if found.empty:
        return _NOTHING
    text = f"{found.value.mean():.{digits}f}"
    if metric in ("CIDEr", "SPICE", f"{HELD_OUT}CIDEr") and found.ci_low.notna().all():
        text += f" ± {(found.ci_high - found.ci_low).mean() / 2:.1f}"
    if len(found) > 1:
        text += f" (sd {found.value.std():.{digits}f})"
    return text


def _quality_notes(report: Report) -> str:
    notes = [
        "BLEU, METEOR, ROUGE-L and CIDEr (CIDEr-D) are those of pycocoevalcap 1.2 after PTB tokenisation, x100. ± is half the 95 % "
        "bootstrap interval over images, sd the spread over seeds.",
    ]
    if report.no_spice:
        notes.append(f"SPICE: n/a. {' '.join(report.no_spice.split())}")
    elif report.config.scoring.spice == "off":
        notes.append("SPICE: switched off in the configuration (scoring.spice).")
    if (report.numbers.metric == "true").any():
        notes.append(
            "grammatical, true: share (%) of captions that the scenes' grammar parses, and of those that also hold of the picture."
        )
    notes.append(_flips(report))
    if (report.numbers[report.numbers.metric == "val_still_rising"].value > 0).any():
        notes.append(
            "†: validation CIDEr was still rising by more than 1 % at the last evaluation; more training would help this row."
        )
    if any(report.config.sees_pixels(name) for name in report.config.systems):
        notes.append(
            "‡: with an encoder of its own, which was trained too (fine_tune): other features than those of the other rows, and "
            "parameters and latency that leave the encoder out."
        )
    return "\n".join(f"- {note}" for note in notes)


def _flips(report: Report) -> str:
    """Whether captions depend on their batch."""
    facts = {
        name.removeprefix("caption "): m["facts"]
        for name, m in report.manifests.items()
        if name.startswith("caption ")
    }
    flipped = [
        f"{n} of {name}, {decoding}"
        for name, fact in facts.items()
        for decoding, n in fact["flips"].items()
        if n
    ]
    count = max(fact["one_by_one"] for fact in facts.values())
    return (
        f"Of {count} images captioned one by one, all have the captions that they have in a batch"
        + (f", but for {'; '.join(flipped)}." if flipped else ".")
    )


def _missing(report: Report) -> str:
    """The rows that are not finished."""
    missing = [
        f"{system.label or name} (seed {seed})"
        for name, system in report.config.systems.items()
        for seed in report.config.seeds_of(name)
        if f"score {name} seed {seed}" not in report.manifests
    ]
    return f"**Not yet run: {', '.join(missing)}.**" if missing else ""


def _latency(report: Report) -> list[str]:
    """The section on latency, which is measured when all systems are trained."""
    if "time" not in report.manifests:
        return ["## Latency", "Not measured."]
    return [
        f"## {latency_title(report)}",
        markdown(*latency_cells(report)),
        "Decoding only, from features in memory to word ids, median and 90th percentile of a batch; the encoder, which all systems "
        "share, stands on its own row (pixels to features).",
    ]


def latency_title(report: Report) -> str:
    machine = report.manifests["time"]["facts"]["machine"]
    return f"Latency on {machine['device']} ({machine['cores']} cores), {machine['threads']} thread"


def latency_cells(report: Report) -> Cells:
    """Of every decoding and of the encoder; `report` has measured times."""
    sizes = report.config.timing.batch_sizes
    headers = ["System", "Decoding"]
    for size in sizes:
        headers += [f"batch {size}: ms", "p90", "images/s"]
    rows = []
    for system, decoding, label in [*_systems(report), (ENCODER, "", "Encoder")]:
        cells = [
            _cell(report, system, decoding, f"latency_{metric}_batch_{size}", digits)
            for size in sizes
            for metric, digits in (("median_ms", 1), ("p90_ms", 1), ("images_per_s", 0))
        ]
        if any(cell != _NOTHING for cell in cells):
            rows.append([label, decoding, *cells])
    return headers, rows


def training_cells(report: Report) -> Cells:
    columns = {"parameters": 0, "images_seen": 0, "train_cpu_seconds": 0, "val_CIDEr": 1}
    rows = []
    for name, system in report.config.systems.items():
        values = {metric: _value(report, name, "", metric) for metric in columns}
        if None not in values.values():
            rows.append(
                [
                    system.label or name,
                    *(f"{values[metric]:,.{digits}f}" for metric, digits in columns.items()),
                ]
            )
    return ["System", "Parameters", "Images seen", "CPU seconds", "Validation CIDEr"], rows


def _brought(report: Report) -> str:
    """What has to be known of rows that come from a predictions file."""
    rows = []
    for name, brought in report.config.predictions.items():
        digest = report.manifests[f"score {name}"]["facts"]["sha256"]
        rows.append([brought.label or name, brought.citation, brought.trained_on, digest[:12]])
    if not rows:
        return ""
    said = (
        "Captions of systems that were not trained here, scored as all others; their training is theirs to state, and their speed was not "
        "measured here."
    )
    return f"## Rows of others\n\n{said}\n\n" + markdown(
        ["System", "Citation", "Trained on", "sha256 of the captions"], rows, 4
    )


def _provenance(report: Report) -> str:
    made = report.manifests.get("time", report.manifests[f"score {HUMAN}"])
    code, host = made["code"], made["host"]
    stages = [
        [name, f"{m['seconds']:.0f}", f"{m['cpu_seconds']:.0f}", m["peak_memory_mib"]]
        for name, m in report.manifests.items()
    ]
    data = report.manifests["data"]["facts"]
    lines = (
        [f"- version {report.version}; to cite it: table.bib, in LaTeX: table.tex"]
        if report.version
        else []
    )
    lines += [
        f"- commit {commits(report.manifests)}, lock file sha256 {code['lock'][:12]}",
        f"- data: {', '.join(f'{n} {split}' for split, n in data['images'].items())} images, {data['captions']} captions; "
        f"sha256 {', '.join(f'{name} {digest[:12]}' for name, digest in data['sha256'].items())}",
        f"- skipped photos: {len(report.manifests['features']['facts']['skipped'])}",
        f"- seeds: {', '.join(map(str, report.config.seeds))}; captions drawn with seed {report.config.decoding.seed}",
        f"- {report.config.arithmetic} arithmetic; {host['cpu']}, {host['cores']} cores, {host['system']}; Python {host['python']}, "
        + ", ".join(f"{name} {v}" for name, v in host["packages"].items()),
        "- configuration and full manifests: table.json"
        + (f"; latency by `{shlex.join(made['command'])}`" if "time" in report.manifests else ""),
    ]
    return (
        "\n".join(lines)
        + "\n\n"
        + markdown(["Stage", "Seconds", "CPU seconds", "Peak MiB"], stages)
    )


def commits(manifests: dict[str, dict]) -> str:
    """Those that the stages were run from: several, where a run went on after an update. Outside a git checkout nobody can say that code is
    unchanged, so it counts as changed."""
    codes = [manifest["code"] for manifest in manifests.values()]
    return ", ".join(
        dict.fromkeys(
            f"{code['commit'] or 'unknown'}{LOCAL_CHANGES if code['dirty'] is not False else ''}"
            for code in codes
        )
    )
