"""table.svg: quality against latency, a panel for each batch size, on light and dark pages alike.

It is as wide as a README, so that its text is read without zooming. Each system is named beside its
panel, next to its best decoding.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dsacap.common.files import read_text, replacing, write_text
from dsacap.reporting.series_style import COLOURS, Style, styles_of
from dsacap.reporting.tradeoff import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 8.6, 4.0  # inches, of a panel
_LINE = 0.052  # of the height of a panel: from one label to the next
_LABELS = 1.04  # of the width of a panel: where labels begin
_BESIDE, _CHARACTER = 0.6, 0.073  # inches: what labels take, and what each of their characters does
_FRONT = "#999999"
# As they are drawn, and as a reader sees them who prefers dark pages.
_DARK = {"#ffffff": "#14171c", "#1a1d23": "#e7eaf0", "#d5d9e0": "#39414e", _FRONT: "#7d8796"}
_PAPER, _INK, _GRID, _ = _DARK
# Of matplotlib. The file is the same every time, and its text can be searched.
_STYLE: Any = {
    "svg.hashsalt": "dsacap",
    "svg.fonttype": "none",
    "font.size": 10,
    "figure.facecolor": _PAPER,
    "axes.facecolor": _PAPER,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
}


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
    styles = styles_of(labels)
    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(panels)))
        all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (size, table) in zip(all_axes, panels.items(), strict=True):
            _draw(axes, table, size, styles)
            _name(axes, table, labels, styles)
        height = _HEIGHT * len(panels)
        longest = max(len(labels[name]) for table in panels.values() for name in table.system)
        right = 1 - (_BESIDE + _CHARACTER * longest) / _WIDTH
        figure.subplots_adjust(0.08, 0.55 / height, max(0.4, right), 1 - 0.3 / height, hspace=0.32)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
            write_text(
                temporary, read_text(temporary).replace("<defs>", f"{_dark_rules()}<defs>", 1)
            )


def _draw(axes: "Axes", table: pd.DataFrame, size: int, styles: Mapping[str, Style]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    front = table[table.front].sort_values("ms")
    axes.step(front.ms, front.quality, where="post", color=_FRONT, linewidth=5, alpha=0.4, zorder=0)
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


def _name(
    axes: "Axes", table: pd.DataFrame, labels: Mapping[str, str], styles: Mapping[str, Style]
) -> None:
    """Write the systems beside the panel, each joined by a thin line to its best decoding."""
    best = table.sort_values("quality").drop_duplicates("system", keep="last")
    to_panel = axes.transData + axes.transAxes.inverted()
    wanted = [
        to_panel.transform((ms, quality))[1]
        for ms, quality in zip(best.ms, best.quality, strict=True)
    ]
    places = spread(wanted, _LINE)
    for row, y in zip(best.itertuples(), places, strict=True):
        style = styles[row.system]
        colour = COLOURS[style.colour][0]
        end = (_LABELS, y)
        drawn: Any = {"xycoords": "data", "textcoords": axes.transAxes, "annotation_clip": False}
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7, "shrinkB": 4}
        axes.annotate("", (row.ms, row.quality), end, arrowprops=line, **drawn)
        axes.plot(
            [_LABELS + 0.012],
            [y],
            style.marker,
            color=colour,
            markersize=6,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            _LABELS + 0.035,
            y,
            labels[row.system],
            va="center",
            fontsize=9,
            transform=axes.transAxes,
        )


def spread(wanted: Sequence[float], apart: float, most: float = 1.0) -> list[float]:
    """Return places in the order of those wanted, near them, `apart` or more, and up to `most`."""
    order = sorted(range(len(wanted)), key=lambda at: -wanted[at])
    places = [0.0] * len(wanted)
    above = most + apart
    for at in order:
        places[at] = above = min(wanted[at], above - apart)
    below = min(0.0, most - apart * (len(wanted) - 1)) - apart
    for at in reversed(order):
        places[at] = below = max(places[at], below + apart)
    return places


def _dark_rules() -> str:
    """Return a style sheet that changes the colours for readers who prefer dark pages."""
    pairs = _DARK | dict(COLOURS)
    rules = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in pairs.items()
        for name in ("fill", "stroke")
    )
    text = f"text{{fill:{_DARK[_INK]}!important}}"
    return f"<style>@media (prefers-color-scheme: dark){{{rules}{text}}}</style>\n"
