"""ablation.md: every row of the benchmark and its controls over several seeds, with what comes back of the original from its captions."""

from collections.abc import Iterable

from dsacap.files import read_json, write_text
from dsacap.layout import HUMAN, Layout, manifest_of
from dsacap.reporting.markdown import Report, commits, markdown, metric_table
from dsacap.reporting.table import row, score_rows, training_rows, write_numbers
from dsacap.scoring.statistics import bootstrap_mean_interval

_COLUMNS = {"CIDEr": 1, "SPICE": 1, "grammatical": 1, "true": 1, "reconstruction": 1, "judged_reconstruction": 1}
_COLUMNS |= {"mBLEU-4": 3, "unique": 2, "novel": 1}
_COSTS = ("train_cpu_seconds", "tune_cpu_seconds")


def write_ablation(layout: Layout) -> None:
    """Writes ablation.csv and, last, ablation.md, which Snakemake waits for."""
    manifests = {f"train {system} seed {seed}": read_json(manifest_of(layout.system(system, seed))) for system, seed in layout.runs}
    rows = [*score_rows(layout), *_reconstruction_rows(layout), *training_rows(layout, manifests)]
    numbers = write_numbers(rows, layout.ablation_table)
    report = Report(layout.config, numbers, manifests, [], None)
    judges = {name: read_json(manifest_of(part.generator))["facts"] for name, part in (("generator", layout), ("judge", layout.judge))}
    seeds = ", ".join(map(str, layout.config.seeds))
    parts = [
        f"# {layout.config.name}: ablation",
        f"Test split; seeds {seeds}: mean (sd over seeds). Scores x100; ± is half the 95 % bootstrap interval over images.",
        metric_table(report, _COLUMNS),
        "reconstruction: cosine (x100) of what the generator makes of the caption with what the encoder sees in the original; judged "
        "reconstruction: the same by the judge, a second encoder and generator of other seeds, which no reward knows. mBLEU-4: lower is "
        "more diverse. A human caption is the first reference.",
        "## Can they judge?",
        "Share of validation images whose right caption scores higher than a wrong one, x100.",
        _judges(judges),
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
                yield row(layout, system, decoding, seed, metric, sum(values) / len(values), "x100", interval, len(values))


def _judges(judges: dict[str, dict]) -> str:
    kinds = list(dict.fromkeys(kind for facts in judges.values() for kind in facts["auc"]))
    rows = [
        [name, *(f"{100 * facts['auc'][kind]:.1f}" if kind in facts["auc"] else "-" for kind in kinds), _seconds(facts)]
        for name, facts in judges.items()
    ]
    return markdown(["", *kinds, "CPU seconds"], rows)


def _costs(layout: Layout, manifests: dict[str, dict]) -> str:
    rows = []
    for name, system in layout.config.systems.items():
        facts = [manifests[f"train {name} seed {seed}"]["facts"] for seed in layout.config.seeds_of(name)]
        spent = [f"{sum(f[cost] for f in facts) / len(facts):,.0f}" if cost in facts[0] else "-" for cost in _COSTS]
        rows.append([system.label or name, f"{facts[0]['parameters']:,}", f"{facts[0]['images_seen']:,}", *spent])
    return markdown(["System", "Parameters", "Images seen", "CPU seconds in all", "of them tuning"], rows)


def _seconds(facts: dict) -> str:
    return f"{facts['train_cpu_seconds']:,.0f}" if "train_cpu_seconds" in facts else "-"
