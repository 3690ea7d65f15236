"""robustness.md: how captions suffer when the photos are degraded.

For each row, CIDEr (and truth, of generated pictures) at each kind and strength of degradation, and
the share of the undegraded score that is left. Differences between the photos as they are and
degraded are paired by image.
"""

from collections.abc import Iterable
from statistics import fmean

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_text
from dsacap.reporting.cells import labels_of
from dsacap.reporting.markdown import commits
from dsacap.reporting.pipe_table import markdown
from dsacap.runs.layout import Layout, manifest_of
from dsacap.scoring.statistics import bootstrap_mean_interval

_TITLES = {
    "noise": "Gaussian noise, standard deviation of 255",
    "blur": "Gaussian blur, standard deviation in % of the shorter side",
    "jpeg": "JPEG, quality",
    "darkness": "darkness, what pixels are multiplied by",
}
_COLUMNS = (
    "dataset", "system", "decoding", "seed", "kind", "strength", "metric", "value", "ci_low",
    "ci_high", "left", "images",
)  # fmt: skip


def write_robustness(layout: Layout) -> None:
    """Write robustness.md and robustness.csv from the results of `score-degraded`.

    Raises:
        UserError: No row has them.
    """
    runs = [run for run in layout.degradable if layout.robustness(*run).exists()]
    if not runs:
        raise UserError(
            f"{layout.root}: no row has captions of degraded photos; run `dsacap degrade` and"
            " `dsacap score-degraded`, or `snakemake` with the path of robustness.md"
        )
    table = pd.DataFrame(_rows(layout, runs), columns=list(_COLUMNS))
    labels = labels_of(layout.config)
    parts = [
        f"# {layout.config.name}: robustness to degraded photos",
        "Test photos are degraded before they are encoded; captions are those of each system's"
        f" first decoding. Means over seeds ({', '.join(map(str, layout.config.seeds))}). In"
        " parentheses: the share (%) of the score on the photos as they are.",
    ]
    for metric in table.metric.unique():
        of_metric = table[table.metric == metric]
        parts.append(f"## {metric}")
        for kind, title in _TITLES.items():
            parts += [f"**{title}**", _of_kind(of_metric, kind, labels)]
    manifests = {str(run): read_json(manifest_of(layout.robustness(*run))) for run in runs}
    first = next(iter(manifests.values()))
    parts.append(
        f"commit {commits(manifests)}; {first['host']['cpu']}. Intervals of each value are in"
        " robustness.csv: a bootstrap over images, of each seed."
    )
    write_text(layout.robustness_table.with_suffix(".csv"), table.to_csv(index=False))
    write_text(layout.robustness_table, "\n\n".join(parts) + "\n")


def _rows(layout: Layout, runs: Iterable[tuple[str, int]]) -> Iterable[tuple]:
    for system, seed in runs:
        found = read_json(layout.robustness(system, seed))
        clean = next(part for part in found["degraded"] if part["kind"] == "none")
        whole = {metric: fmean(of.values()) for metric, of in clean["scores"].items()}
        for part in found["degraded"]:
            for metric, per_image in part["scores"].items():
                values = 100 * np.array(list(per_image.values()))
                left = 100 * values.mean() / (100 * whole[metric]) if whole[metric] else np.nan
                interval = bootstrap_mean_interval(values)
                place = (layout.config.name, system, found["decoding"], seed)
                how = (part["kind"], part["strength"], metric)
                yield (*place, *how, values.mean(), *interval, left, len(values))


def _of_kind(table: pd.DataFrame, kind: str, labels: dict[str, str]) -> str:
    chosen = table[table.kind.isin(["none", kind])]
    means = chosen.groupby(["system", "decoding", "kind", "strength"], sort=False)[
        ["value", "left"]
    ].mean()
    strengths = [*dict.fromkeys(chosen[chosen.kind == kind].strength)]
    lines = []
    for system, decoding in dict.fromkeys(zip(chosen.system, chosen.decoding, strict=True)):
        cells = [f"{means.value[system, decoding, 'none', 0.0]:.1f}"]
        for strength in strengths:
            value, left = means.loc[(system, decoding, kind, strength)]
            cells.append(f"{value:.1f} ({left:.0f})")
        lines.append([labels[system], decoding, *cells])
    headers = ["System", "Decoding", "as it is", *(f"{strength:g}" for strength in strengths)]
    return markdown(headers, lines)
