"""Quality against latency: every decoding of the same trained weights as a point, and which of them no other beats in both."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dsacap.files import replacing
from dsacap.reporting.pipe import markdown

_QUALITY = "CIDEr"
_STYLE = {"svg.hashsalt": "dsacap", "svg.fonttype": "none", "font.size": 9}  # the same file every time, with text that can be searched
_MARKERS = "osD^v<>phXP*d"


def points(numbers: pd.DataFrame, batch_size: int) -> pd.DataFrame:
    """system, decoding, steps, CIDEr (mean over seeds), ms a batch, images/s, and `front`: on the Pareto front of CIDEr and ms."""
    named = {_QUALITY: "quality", f"latency_median_ms_batch_{batch_size}": "ms", f"latency_images_per_s_batch_{batch_size}": "images_per_s"}
    chosen = numbers[numbers.metric.isin(named)].assign(metric=lambda n: n.metric.map(named))
    table = chosen.pivot_table(index=["system", "decoding"], columns="metric", values="value", sort=False).dropna()
    if not {"quality", "ms"} <= set(table.columns):
        return pd.DataFrame(columns=["system", "decoding", "steps", *named.values(), "front"]).astype({"front": bool})
    steps = numbers.drop_duplicates(["system", "decoding"]).set_index(["system", "decoding"]).steps
    table = table.join(steps).reset_index()
    return table.assign(front=on_front(table.ms, table.quality))


def on_front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Of each point: whether no other costs as little and gains as much, and is better in one of both."""
    pairs = list(zip(costs, gains, strict=True))
    return [not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in pairs) for cost, gain in pairs]


def tradeoff_section(numbers: pd.DataFrame, labels: dict[str, str], batch_sizes: Sequence[int], plot: str) -> str:
    """The points of each batch size from the fastest to the slowest; nothing where no latency was measured."""
    parts = []
    for size in batch_sizes:
        rows = [
            [labels[p.system], p.decoding, "-" if pd.isna(p.steps) else int(p.steps), f"{p.ms:.1f}", f"{p.quality:.1f}", "*" * p.front]
            for p in points(numbers, size).sort_values(["ms", "quality"]).itertuples()
        ]
        if rows:
            parts += [f"Batch {size}:", markdown(["System", "Decoding", "K", "ms", _QUALITY, "front"], rows)]
    if not parts:
        return ""
    said = f"![Quality against latency]({plot})\n\nDecoding only. *: no other row is as fast and as good, and better in one of both."
    return "\n\n".join(["## Quality against latency", said, *parts])


def write_plot(numbers: pd.DataFrame, labels: dict[str, str], batch_sizes: Sequence[int], path: Path) -> None:
    """The same as a picture (SVG): a panel a batch size, a line through the best decoding of each K, and the front."""
    from matplotlib import rc_context  # a second to load, which other pages need not wait for
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    with rc_context(_STYLE):
        figure = Figure(figsize=(6.2 * len(batch_sizes), 4.8), layout="constrained")
        for axes, size in zip(figure.subplots(1, len(batch_sizes), squeeze=False)[0], batch_sizes, strict=True):
            found = points(numbers, size)
            for at, (system, rows) in enumerate(found.groupby("system", sort=False)):
                colour, marker = f"C{at % 10}", _MARKERS[at % len(_MARKERS)]
                axes.plot(rows.ms, rows.quality, marker, color=colour, label=labels[system], markersize=5)
                sweep = rows.sort_values("quality").drop_duplicates("steps", keep="last").dropna().sort_values("steps")
                if len(sweep) > 1:
                    axes.plot(sweep.ms, sweep.quality, "-", color=colour, linewidth=0.8)
            front = found[found.front].sort_values("ms")
            axes.step(front.ms, front.quality, where="post", color="0.6", linewidth=4, alpha=0.5, zorder=0, label="front")
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set(xlabel=f"ms a batch of {size}, decoding only", ylabel=_QUALITY, title=f"batch {size}")
            axes.grid(alpha=0.3)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
