"""ablation.md: all rows and their controls over several seeds.

It adds how well the original image can be reconstructed from the captions, how tuning went, and
what each row cost.
"""

from collections.abc import Iterable

import pandas as pd

from dsacap.common.files import read_json, read_jsonl, write_text
from dsacap.reporting.diversity_curves import diversity_section
from dsacap.reporting.markdown import commits, metric_table
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.table import row, score_rows, table_of, training_rows
from dsacap.reporting.table_file import write_csv
from dsacap.runs.layout import HUMAN, Layout, manifest_of
from dsacap.scoring.statistics import bootstrap_mean_interval

_QUALITY = {  # metric -> digits
    "CIDEr": 1,
    "true": 1,
    "grammatical": 1,
    "SPICE": 1,
    "reconstruction": 1,
    "judged_reconstruction": 1,
    "contrast": 1,
    "judged_contrast": 1,
}
_DIVERSITY = {"mBLEU-4": 3, "unique": 2, "novel": 1}
# What tuning logs about the captions that it draws -> the factor to multiply it by, and digits.
_HEALTH = {
    "words": (1, 1),
    "repeats": (1, 2),
    "bad_endings": (100, 1),
    "unique": (100, 0),
    "nats_per_word": (1, 2),
    "kl": (1, 2),
}
_COSTS = ("train_cpu_seconds", "tune_cpu_seconds")


def write_ablation(layout: Layout) -> None:
    """Write ablation.csv and, last, ablation.md, which Snakemake waits for."""
    manifests = {
        f"train {system} seed {seed}": read_json(manifest_of(layout.system(system, seed)))
        for system, seed in layout.runs
    }
    rows = [
        *score_rows(layout, layout.runs),
        *_reconstruction_rows(layout),
        *training_rows(layout, layout.runs, manifests),
    ]
    table = table_of(layout, layout.ablation_table, rows, manifests, signatures={})
    write_csv(table.numbers, table.path)
    judges = {
        name: read_json(manifest_of(part.generator))["facts"]
        for name, part in (("generator", layout), ("judge", layout.judge))
    }
    seeds = ", ".join(map(str, layout.config.seeds))
    parts = [
        f"# {layout.config.name}: ablation",
        f"Test split; seeds {seeds}: mean (sd over seeds). Scores x100; ± is half the 95 %"
        " bootstrap interval over images.",
        metric_table(table, _QUALITY),
        "reconstruction: cosine (x100) between what the generator makes of the caption and the"
        " encoder's features of the original; judged reconstruction: the same by the judge, a"
        " second encoder and generator with other seeds, which no reward uses. contrast, and judged"
        " contrast: probability (x100) by such cosines that the caption is of its image, and not of"
        " one of the 15 nearest to it; 6.2 by chance. The first row is the first reference of each"
        " image.",
        f"## Diversity of {layout.config.decoding.samples} captions per image",
        metric_table(table, _DIVERSITY),
        "mBLEU-4: lower is more diverse; unique: different captions per image; novel: share (%)"
        " that does not occur word for word in train.",
        *diversity_section(layout, layout.ablation_table),
        "## Can they judge?",
        "Share of validation images for which the right caption scores higher than a wrong one,"
        " x100.",
        _judges(judges),
        "## How tuning went",
        _health(layout),
        "Means over seeds for the captions drawn while a row was tuned, in the first and the last"
        " tenth of the run: words and repeats per caption; share (%) that ends on a word like 'a';"
        " share (%) of an image's captions that differ; nats per word (falling: captions become"
        " less varied); kl: log p minus that before tuning; the rewards, unweighted.",
        "## Cost",
        _costs(layout, manifests),
        f"commit {commits(manifests)}; {next(iter(manifests.values()))['host']['cpu']}",
    ]
    write_text(layout.ablation_table, "\n\n".join(parts) + "\n")


def _reconstruction_rows(layout: Layout) -> Iterable[dict]:
    for system, seed in [(HUMAN, None), *layout.runs]:
        for decoding, metrics in read_json(layout.reconstructions(system, seed or 0)).items():
            for metric, per_image in metrics.items():
                values = [100 * value for value in per_image.values()]
                interval = bootstrap_mean_interval(values)
                mean, n = sum(values) / len(values), len(values)
                yield row(layout, system, decoding, seed, metric, mean, "x100", interval, n)


def _judges(judges: dict[str, dict]) -> str:
    kinds = list(dict.fromkeys(kind for facts in judges.values() for kind in facts["auc"]))
    rows = [
        [
            name,
            *(f"{100 * facts['auc'][kind]:.1f}" if kind in facts["auc"] else "-" for kind in kinds),
            _seconds(facts),
        ]
        for name, facts in judges.items()
    ]
    return markdown(["", *kinds, "CPU seconds"], rows)


def _costs(layout: Layout, manifests: dict[str, dict]) -> str:
    rows = []
    for name, system in layout.config.systems.items():
        facts = [
            manifests[f"train {name} seed {seed}"]["facts"] for seed in layout.config.seeds_of(name)
        ]
        spent = [
            f"{sum(f[cost] for f in facts) / len(facts):,.0f}" if cost in facts[0] else "-"
            for cost in _COSTS
        ]
        rows.append(
            [
                system.label or name,
                f"{facts[0]['parameters']:,}",
                f"{facts[0]['images_seen']:,}",
                *spent,
            ]
        )
    return markdown(
        ["System", "Parameters", "Images seen", "CPU seconds in total", "of which tuning"], rows
    )


def _health(layout: Layout) -> str:
    """The start and the end of what tuning logged, for every row tuned by rewards."""
    lines, columns = [], list(_HEALTH)
    for name, system in layout.config.systems.items():
        if not (system.tuning and system.tuning.rewards):
            continue
        logs = [
            pd.DataFrame(read_jsonl(layout.system(name, seed) / "train.jsonl"))
            for seed in layout.config.seeds_of(name)
        ]
        tenth = max(1, len(logs[0]) // 10)
        first = pd.concat([log.head(tenth) for log in logs]).mean()
        last = pd.concat([log.tail(tenth) for log in logs]).mean()
        columns += [
            column
            for column in first.index
            if column.startswith("reward_") and column not in columns
        ]
        lines.append((system.label or name, first, last))
    rows = [
        [label, *(_start_to_end(first, last, column) for column in columns)]
        for label, first, last in lines
    ]
    return markdown(["System", *(column.replace("_", " ") for column in columns)], rows)


def _start_to_end(first: pd.Series, last: pd.Series, column: str) -> str:
    if column not in first:
        return "-"
    scale, digits = _HEALTH.get(column, (1, 2))
    return f"{scale * first[column]:.{digits}f} → {scale * last[column]:.{digits}f}"


def _seconds(facts: dict) -> str:
    return f"{facts['train_cpu_seconds']:,.0f}" if "train_cpu_seconds" in facts else "-"
