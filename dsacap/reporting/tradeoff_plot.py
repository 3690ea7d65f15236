"""table.svg: quality against latency, a panel for each batch size, on light and dark pages alike.

Each system is named beside its panel, next to its best decoding.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dsacap.reporting.series_style import COLOURS, Style, styles_of
from dsacap.reporting.svg_figure import (
    FRONT,
    STYLE,
    WIDTH,
    Named,
    name_beside,
    room_for,
    write_svg,
)
from dsacap.reporting.tradeoff import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 4.0  # inches, of a panel


def write_plot(
    numbers: pd.DataFrame, labels: Mapping[str, str], batch_sizes: Sequence[int], path: Path
) -> None:
    """Draw the trade-off as an SVG.

    Per system, a line joins the best decoding of each number of steps. Bars are the 95 % intervals
    of CIDEr, and the grey line is the Pareto front.

    Args:
        numbers: The numbers of one seed (see `of_seed`).
        labels: The name by which each system is shown, of all systems of the configuration.
        batch_sizes: The batch sizes to draw; those that were not timed have no panel.
        path: The file to write; it is removed if no batch size was timed.
    """
    from matplotlib import rc_context  # takes a second to load, which other pages can do without
    from matplotlib.figure import Figure

    panels = {size: table for size in batch_sizes if not (table := points(numbers, size)).empty}
    if not panels:
        path.unlink(missing_ok=True)  # of another run
        return
    styles, height = styles_of(labels), _HEIGHT * len(panels)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        right = room_for([labels[name] for table in panels.values() for name in table.system])
        figure.subplots_adjust(0.08, 0.55 / height, right, 1 - 0.3 / height, hspace=0.32)
        all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (size, table) in zip(all_axes, panels.items(), strict=True):
            _draw(axes, table, size, styles)
            best = table.sort_values("quality").drop_duplicates("system", keep="last")
            ends = [
                Named(row.ms, row.quality, labels[row.system], styles[row.system])
                for row in best.itertuples()
            ]
            name_beside(axes, ends)
        write_svg(figure, path)


def _draw(axes: "Axes", table: pd.DataFrame, size: int, styles: Mapping[str, Style]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    front = table[table.front].sort_values("ms")
    axes.step(front.ms, front.quality, where="post", color=FRONT, linewidth=5, alpha=0.4, zorder=0)
    for system, rows in table.groupby("system", sort=False):
        style = styles[str(system)]
        colour = COLOURS[style.colour][0]
        known = rows.dropna(subset=["low", "high"])
        ends = [known.quality - known.low, known.high - known.quality]
        bars: Any = {"fmt": "none", "ecolor": colour, "elinewidth": 1.1, "alpha": 0.6}
        axes.errorbar(known.ms, known.quality, ends, **bars)
        axes.plot(rows.ms, rows.quality, style.marker, color=colour, markersize=6)
        sweep = (
            rows.sort_values("quality")
            .drop_duplicates("steps", keep="last")
            .dropna(subset="steps")
            .sort_values("steps")
        )
        if len(sweep) > 1:
            axes.plot(sweep.ms, sweep.quality, "-", color=colour, linewidth=0.9)
    axes.set_xscale("log")
    narrow = table.ms.max() < 20 * table.ms.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if narrow else (1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    images = "one image at a time" if size == 1 else f"{size} images at a time"
    axes.set_title(f"Quality against latency, {images}", loc="left", fontsize=11)
    axes.set_xlabel(f"milliseconds to decode {_images(size)} (log scale)")
    axes.set_ylabel("CIDEr (x100), with 95 % interval")
    axes.grid(alpha=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)


def _images(size: int) -> str:
    return "one image" if size == 1 else f"a batch of {size}"
