"""The trade-off between quality and cost: one row per decoding of one file of weights.

Rows on the Pareto front of quality and latency are marked.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from dsacap.reporting.pipe_table import markdown

_QUALITY = "CIDEr"
_OF_DECODING = {"CIDEr": 1, "SPICE": 1, "BLEU-4": 1, "mBLEU-4": 3, "unique": 2}  # metric -> digits
_SHOWN = ("CIDEr", "mBLEU-4")  # in Markdown, where all would be wider than a page
_OF_SYSTEM = {
    "memory_process_mib": "process MiB",
    "parameters": "parameters",
    "train_cpu_seconds": "CPU seconds",
}
_GPU_MEMORY = {"memory_allocated_mib": "GPU MiB"}  # of a decoding; without a GPU, no column


def of_seed(numbers: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the numbers of the weights of one seed, and those without one, such as latency."""
    return numbers[numbers.seed.isna() | (numbers.seed == seed)]


def checkpoints(
    numbers: pd.DataFrame, systems: Sequence[str], batch_sizes: Sequence[int]
) -> pd.DataFrame:
    """Return one row per decoding, the fastest first.

    Args:
        numbers: The numbers of one seed (see `of_seed`).
        systems: The systems to include.
        batch_sizes: The batch sizes that may have been timed.

    Returns:
        Columns system, decoding and steps; quality and diversity; `ms_N` and `front_N` for each
        batch size N that was timed; memory, parameters and train_cpu_seconds. NaN: unknown.
    """
    numbers = numbers[numbers.system.isin(systems)]
    wanted = numbers[numbers.metric.isin([*_OF_DECODING, *_GPU_MEMORY]) & (numbers.decoding != "")]
    table = wanted.pivot_table(
        index=["system", "decoding"], columns="metric", values="value", sort=False
    ).reset_index()
    table = table.reindex(
        columns=[
            "system",
            "decoding",
            *_OF_DECODING,
            *(name for name in _GPU_MEMORY if name in table),
        ]
    )
    for metric in _OF_SYSTEM:
        table[metric] = table.system.map(
            numbers[numbers.metric == metric].set_index("system").value
        )
    steps = numbers.drop_duplicates(["system", "decoding"])[["system", "decoding", "steps"]]
    table = table.merge(steps, "left", ["system", "decoding"])
    timed = []
    for size in batch_sizes:
        found = points(numbers, size)
        if not found.empty:
            timed.append(f"ms_{size}")
            names = {"ms": f"ms_{size}", "front": f"front_{size}"}
            table = table.merge(
                found[["system", "decoding", *names]].rename(columns=names),
                "left",
                ["system", "decoding"],
            )
    return table.sort_values([*timed[:1], _QUALITY], kind="stable", ignore_index=True)


def points(numbers: pd.DataFrame, batch_size: int) -> pd.DataFrame:
    """Return the points of the plot for one batch size, as means over seeds.

    Columns are system, decoding, steps, quality (CIDEr), ms (per batch), images_per_s, low and high
    (the ends of the 95 % interval of CIDEr; NaN if there is none), and front: whether the point is
    on the Pareto front of CIDEr and ms.
    """
    named = {
        _QUALITY: "quality",
        f"latency_median_ms_batch_{batch_size}": "ms",
        f"latency_images_per_s_batch_{batch_size}": "images_per_s",
    }
    chosen = numbers[numbers.metric.isin(named)].assign(metric=lambda n: n.metric.map(named))
    table = chosen.pivot_table(
        index=["system", "decoding"], columns="metric", values="value", sort=False
    ).dropna()
    if not {"quality", "ms"} <= set(table.columns):
        return pd.DataFrame(
            columns=["system", "decoding", "steps", *named.values(), "low", "high", "front"]
        ).astype({"front": bool})
    steps = numbers.drop_duplicates(["system", "decoding"]).set_index(["system", "decoding"]).steps
    of_quality = numbers[numbers.metric == _QUALITY].astype({"ci_low": float, "ci_high": float})
    ends = of_quality.groupby(["system", "decoding"])[["ci_low", "ci_high"]].mean()
    ends = ends.rename(columns={"ci_low": "low", "ci_high": "high"})
    table = table.join(steps).join(ends).reset_index()
    return table.assign(front=on_front(table.ms, table.quality))


def on_front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Return for each point whether it is on the Pareto front.

    It is, unless another point costs no more, gains no less, and is better in one of the two.
    """
    pairs = list(zip(costs, gains, strict=True))
    return [
        not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in pairs)
        for cost, gain in pairs
    ]


def tradeoff_section(
    numbers: pd.DataFrame,
    labels: Mapping[str, str],
    weights: Mapping[str, str | None],
    batch_sizes: Sequence[int],
    plot: str,
) -> str:
    """Return the section with quality, diversity, latency, memory and training cost.

    Args:
        numbers: The numbers of one seed (see `of_seed`).
        labels: The name by which each system is shown.
        weights: The sha256 of each system's file of weights; None if not recorded.
        batch_sizes: The batch sizes that may have been timed.
        plot: Path of the plot, which is shown if latency was measured.
    """
    table = checkpoints(numbers, list(labels), batch_sizes)
    timed = [size for size in batch_sizes if f"ms_{size}" in table]
    costs = {name: title for name, title in (_GPU_MEMORY | _OF_SYSTEM).items() if name in table}
    headers = [
        "System",
        "Decoding",
        "weights",
        *_SHOWN,
        *(f"batch {size}: ms" for size in timed),
        *costs.values(),
    ]
    rows = []
    for row in table.to_dict("records"):
        named = [labels[row["system"]], row["decoding"], (weights[row["system"]] or "-")[:8]]
        scores = [_cell(row[name], _OF_DECODING[name]) for name in _SHOWN]
        times = [
            _cell(row[f"ms_{size}"], 1) + (" *" if row[f"front_{size}"] is True else "")
            for size in timed
        ]
        rows.append([*named, *scores, *times, *(_cell(row[name], 0) for name in costs)])
    note = (
        "A row is one file of weights, named by the first 8 digits of the sha256 of its"
        " model.safetensors (-: not recorded), with one decoding; of several seeds, the first."
        " *: no other row is as fast and as high in CIDEr, and better in one of the two."
        " ms: decoding only. process MiB: the peak of the process that was timed, with Python and"
        " torch, over all decodings. CPU seconds: those of training, including a teacher, the row"
        " that it was tuned from, and the generator that rewarded it."
    )
    picture = [f"![Quality against latency]({plot})"] if timed else []
    return "\n\n".join(
        ["## Trade-off, one checkpoint per row", *picture, markdown(headers, rows), note]
    )


def _cell(value: float, digits: int) -> str:
    return "-" if pd.isna(value) else f"{value:,.{digits}f}"
