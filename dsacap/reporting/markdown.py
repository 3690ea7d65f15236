"""table.md and samples.md, from a table."""

import shlex
from collections.abc import Iterable, Mapping, Sequence

from dsacap.config.experiment import Config
from dsacap.reporting.cells import (
    AGAINST_HUMANS,
    DIVERSITY,
    OWN_ENCODER,
    QUALITY,
    SHORTER_BLEU,
    STILL_RISING,
    Row,
    labels_of,
    latency_cells,
    latency_title,
    main_rows,
    metric_cells,
    rows_of,
    training_cells,
)
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.published_figures import published_section
from dsacap.reporting.table_file import BEST_OF, HELD_OUT, Table
from dsacap.reporting.tradeoff import of_seed, tradeoff_section
from dsacap.runs.layout import HUMAN
from dsacap.scoring.metrics.spice import METRICS as SPICE

_WEIGHTS = "/model.safetensors"
LOCAL_CHANGES = " with local changes"


def render(table: Table, no_spice: str | None, version: str, diversity: Sequence[str] = ()) -> str:
    """Return the whole table as Markdown.

    Args:
        table: The table.
        no_spice: Why SPICE could not be computed, if it was wanted and could not be.
        version: The version by which the table is cited.
        diversity: The section on quality against diversity, in parts.
    """
    config = table.experiment
    references = rows_of(table)[0][2]
    of_first = of_seed(table.numbers, config.seeds[0])
    parts = [
        f"# Captioning benchmark: {config.name}",
        config.note or "",
        "Test split, each row scored once; settings and weights chosen on validation. "
        + ("One seed." if len(config.seeds) == 1 else f"Mean over {len(config.seeds)} seeds."),
        _missing(table),
        *_quality(table, no_spice),
        *_spice(table),
        f"## Beside the {references.lower()}" if references == "References" else "## Beside humans",
        metric_table(table, AGAINST_HUMANS),
        "Each reference is left out in turn, and the captions are scored against the others;"
        f" shown is the mean. The row {references} is the reference left out. in train: share (%)"
        " of the test captions that occur word for word in train.",
        f"## Diversity of {config.decoding.samples} captions per image",
        metric_table(table, DIVERSITY),
        "Div-n: distinct n-grams of an image's captions over their number of words; mBLEU-4: lower"
        " is more diverse; unique: different captions per image; novel: share (%) that does not"
        " occur word for word in train. A decoding without randomness has no diversity.",
        *diversity,
        *_latency(table),
        tradeoff_section(
            of_first,
            labels_of(config),
            weights_of(config, table.manifests),
            config.timing.batch_sizes,
            "table.svg",
        ),
        "## Training",
        markdown(*training_cells(table)),
        _predictions(table),
        published_section(config.published, config.name) if config.published else "",
        "## How this was made",
        _provenance(table, version),
        "Two numbers are comparable only if their signatures are the same:",
        _signatures(
            [
                signature
                for metric, signature in table.signatures.items()
                if not metric.startswith((HELD_OUT, BEST_OF))  # they reuse the metric's own
            ]
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_samples(table: Table) -> str:
    """Return samples.md: SPICE of several captions per image."""
    k = table.experiment.decoding.samples
    time = sum(manifest["seconds"] for manifest in table.manifests.values())
    parts = [
        f"# {table.experiment.name}: SPICE of {k} captions per image",
        metric_table(table, {"AllSPICE": 1, f"{BEST_OF}{k}_SPICE": 1}),
        "AllSPICE: SPICE's F, x100, of the tuples of all captions of an image joined in one graph"
        " (Luo & Shakhnarovich 2020). best of: each image's caption with the highest SPICE. Test"
        f" split; scored in {time:.0f} s; commit {commits(table.manifests)}",
        _signatures(sorted(set(table.signatures.values()))),
    ]
    return "\n\n".join(parts) + "\n"


def metric_table(
    table: Table,
    metrics: Mapping[str, int],
    extra: Mapping[str, str] | None = None,
    rows: Iterable[Row] | None = None,
) -> str:
    """Return `metric_cells` as Markdown."""
    return markdown(*metric_cells(table, metrics, extra, rows))


def weights_of(config: Config, manifests: dict[str, dict]) -> dict[str, str | None]:
    """Return the sha256 of each system's weights of the first seed; None if not recorded."""
    trained = {
        name: manifests.get(f"train {name} seed {config.seeds[0]}", {}).get("outputs", {})
        for name in config.systems
    }
    return {
        name: next((digest for file, digest in outputs.items() if file.endswith(_WEIGHTS)), None)
        for name, outputs in trained.items()
    }


def commits(manifests: dict[str, dict]) -> str:
    """Return the commits that the stages were run from, separated by commas."""
    return ", ".join(commits_of(manifests.values()))


def commits_of(manifests: Iterable[dict]) -> list[str]:
    """Return the commits that the stages were run from, each once.

    There are several where a run was resumed after an update. Outside a git checkout nothing shows
    that the code is unchanged, so it is reported as changed.
    """
    codes = [manifest["code"] for manifest in manifests]
    return list(
        dict.fromkeys(
            f"{code['commit'] or 'unknown'}{LOCAL_CHANGES if code['dirty'] is not False else ''}"
            for code in codes
        )
    )


def _quality(table: Table, no_spice: str | None) -> list[str]:
    """One decoding of each system, then the other decodings, then the shorter n-grams."""
    extra = {"SPICE": "n/a"} if no_spice else {}
    rows = rows_of(table)
    main = main_rows(rows)
    parts = [
        "## Quality",
        metric_table(table, QUALITY, extra, main),
        _quality_notes(table, no_spice),
    ]
    if others := [row for row in rows if row not in main]:
        parts += ["## Quality of the other decodings", metric_table(table, QUALITY, extra, others)]
    return [*parts, "## BLEU of shorter n-grams", metric_table(table, SHORTER_BLEU)]


def _spice(table: Table) -> list[str]:
    """The section on SPICE's parts, where it was computed."""
    if not (table.numbers.metric == "SPICE").any():
        return []
    return [
        "## Parts of SPICE",
        metric_table(table, dict.fromkeys(SPICE[1:], 1)),
        "Precision and recall of scene-graph tuples, and F within each category, x100. A category"
        " is the mean over the images whose references have it (table.csv has their number).",
    ]


def _quality_notes(table: Table, no_spice: str | None) -> str:
    config, numbers = table.experiment, table.numbers
    notes = [
        "BLEU, METEOR, ROUGE-L and CIDEr (CIDEr-D) are those of pycocoevalcap 1.2 after PTB"
        " tokenisation, x100. ± is half the 95 % bootstrap interval over images, sd the spread over"
        " seeds.",
    ]
    if no_spice:
        notes.append(f"SPICE: n/a. {' '.join(no_spice.split())}")
    elif config.scoring.spice == "off":
        notes.append("SPICE: switched off in the configuration (scoring.spice).")
    elif any(map(config.without_spice, config.systems)):
        notes.append(
            "SPICE is not computed for decodings that are points of a curve of diversity only"
            " (diversity.spice)."
        )
    if (numbers.metric == "true").any():
        notes.append(
            "grammatical, true: share (%) of captions that the scenes' grammar parses, and of those"
            " that are also true of the picture."
        )
    notes.append(_flips(table))
    if (numbers[numbers.metric == "val_still_rising"].value > 0).any():
        notes.append(STILL_RISING)
    if any(config.sees_pixels(name) for name in config.systems):
        notes.append(OWN_ENCODER)
    return "\n".join(f"- {note}" for note in notes)


def _flips(table: Table) -> str:
    """A note on whether captions depend on the images in the same batch."""
    facts = {
        name.removeprefix("caption "): m["facts"]
        for name, m in table.manifests.items()
        if name.startswith("caption ")
    }
    flipped = [
        f"{n} of {name}, {decoding}"
        for name, fact in facts.items()
        for decoding, n in fact["flips"].items()
        if n
    ]
    count = max(fact["one_by_one"] for fact in facts.values())
    return f"Of {count} images captioned one by one, all got the same captions as in a batch" + (
        f", except {'; '.join(flipped)}." if flipped else "."
    )


def _missing(table: Table) -> str:
    """A line that names the rows that are not finished."""
    config = table.experiment
    missing = [
        f"{label} (seed {seed})"
        for name, label in labels_of(config).items()
        for seed in config.seeds_of(name)
        if f"score {name} seed {seed}" not in table.manifests
    ]
    return f"**Not yet run: {', '.join(missing)}.**" if missing else ""


def _latency(table: Table) -> list[str]:
    """The section on latency, which is measured when all systems are trained."""
    if "time" not in table.manifests:
        return ["## Latency", "Not measured."]
    return [
        f"## {latency_title(table)}",
        markdown(*latency_cells(table)),
        "Decoding only, from features in memory to word ids: median and 90th percentile per batch."
        " The encoder, which all systems share, has its own row (pixels to features).",
    ]


def _predictions(table: Table) -> str:
    """What has to be known about rows that come from a predictions file."""
    rows = []
    for name, of in table.experiment.predictions.items():
        digest = table.manifests[f"score {name}"]["facts"]["sha256"]
        rows.append([of.label or name, of.citation, of.trained_on, digest[:12]])
    if not rows:
        return ""
    note = (
        "Captions of systems that were not trained here, scored like all others. How they were"
        " trained is stated by their authors, and their speed was not measured."
    )
    return f"## Rows of others\n\n{note}\n\n" + markdown(
        ["System", "Citation", "Trained on", "sha256 of the captions"], rows, 4
    )


def _provenance(table: Table, version: str) -> str:
    config, manifests = table.experiment, table.manifests
    made = manifests.get("time", manifests[f"score {HUMAN}"])
    code, host = made["code"], made["host"]
    stages = [
        [name, f"{m['seconds']:.0f}", f"{m['cpu_seconds']:.0f}", m["peak_memory_mib"]]
        for name, m in manifests.items()
    ]
    data = manifests["data"]["facts"]
    images = ", ".join(f"{n} {split}" for split, n in data["images"].items())
    digests = ", ".join(f"{name} {digest[:12]}" for name, digest in data["sha256"].items())
    packages = ", ".join(f"{name} {release}" for name, release in host["packages"].items())
    lines = [
        f"- version {version}; to cite it: table.bib, in LaTeX: table.tex",
        f"- commit {commits(manifests)}, lock file sha256 {code['lock'][:12]}",
        f"- data: {images} images, {data['captions']} captions; sha256 {digests}",
        f"- skipped photos: {len(manifests['features']['facts']['skipped'])}",
        f"- seeds: {', '.join(map(str, config.seeds))}; captions drawn with seed"
        f" {config.decoding.seed}",
        f"- {config.arithmetic} arithmetic; {host['cpu']}, {host['cores']} cores, {host['system']};"
        f" Python {host['python']}, {packages}",
        "- configuration and full manifests: table.json"
        + (f"; latency by `{shlex.join(made['command'])}`" if "time" in manifests else ""),
    ]
    return (
        "\n".join(lines)
        + "\n\n"
        + markdown(["Stage", "Seconds", "CPU seconds", "Peak MiB"], stages)
    )


def _signatures(signatures: list[str]) -> str:
    return "```\n" + "\n".join(signatures) + "\n```"
