"""The plot of quality against diversity, on light and dark pages alike.

A line is a dial of a system, named beside the plot; hollow marks are decodings on no dial. The
range over which systems are compared is shaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsacap.reporting.series_style import COLOURS, Style, styles_of
from dsacap.reporting.svg_figure import (
    GRID,
    STYLE,
    WIDTH,
    Named,
    name_beside,
    room_for,
    write_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 4.6  # inches
_DASHES = ("-", "--", ":", "-.")  # of the first dial of a system, the second, and so on


@dataclass(frozen=True)
class Spot:
    """A decoding in the plot.

    Attributes:
        system: The system.
        decoding: The decoding.
        mbleu: mBLEU-4 of its captions of an image, 0 to 1.
        cider: CIDEr (x100).
    """

    system: str
    decoding: str
    mbleu: float
    cider: float


@dataclass(frozen=True)
class Line:
    """A dial in the plot.

    Attributes:
        system: The system.
        name: What is written beside the plot.
        spots: Its decodings by ascending mBLEU-4; there is at least one.
    """

    system: str
    name: str
    spots: tuple[Spot, ...]


def write_diversity_plot(
    lines: Sequence[Line],
    others: Sequence[Spot],
    labels: Mapping[str, str],
    between: tuple[float, float],
    path: Path,
) -> None:
    """Draw the plot as an SVG.

    Args:
        lines: The dials.
        others: Decodings that are on no dial.
        labels: The name by which each system is shown, of all systems of the configuration.
        between: The range of mBLEU-4 over which systems are compared.
        path: The file to write.
    """
    from matplotlib import rc_context  # takes a second to load, which other pages can do without
    from matplotlib.figure import Figure

    styles = styles_of(labels)
    without = {spot.system: spot for spot in sorted(others, key=lambda spot: spot.cider)}
    for line in lines:
        without.pop(line.system, None)  # it is named by its dials
    dashes = _dashes_of(lines)
    named = [
        (max(line.spots, key=lambda spot: spot.cider), line.name, dash)
        for line, dash in zip(lines, dashes, strict=True)
    ]
    named += [(spot, labels[system], "") for system, spot in without.items()]
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, _HEIGHT))
        figure.subplots_adjust(0.08, 0.12, room_for([name for _, name, _ in named]), 0.93)
        axes = figure.subplots()
        axes.axvspan(*between, color=GRID, alpha=0.45, linewidth=0, zorder=0)
        for line, dash in zip(lines, dashes, strict=True):
            _draw(axes, line, styles[line.system], dash)
        for spot in others:
            style = styles[spot.system]
            hollow: Any = {"markerfacecolor": "none", "color": COLOURS[style.colour][0]}
            axes.plot([spot.mbleu], [spot.cider], style.marker, markersize=6, **hollow)
        axes.set_title("Quality against diversity", loc="left", fontsize=11)
        axes.set_xlabel("mBLEU-4 of the captions of an image (lower: more diverse)")
        axes.set_ylabel("CIDEr (x100)")
        axes.grid(alpha=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(which="both", length=0)
        axes.margins(0.04)
        axes.autoscale_view()
        name_beside(
            axes,
            [
                Named(spot.mbleu, spot.cider, name, styles[spot.system], dash)
                for spot, name, dash in named
            ],
        )
        write_svg(figure, path)


def _dashes_of(lines: Sequence[Line]) -> list[str]:
    """Return how each line is drawn: a system's first one solid, its others dashed or dotted."""
    before = [
        [line.system for line in lines[:at]].count(lines[at].system) for at in range(len(lines))
    ]
    return [_DASHES[n % len(_DASHES)] for n in before]


def _draw(axes: "Axes", line: Line, style: Style, dashes: str) -> None:
    colour = COLOURS[style.colour][0]
    x, y = [spot.mbleu for spot in line.spots], [spot.cider for spot in line.spots]
    axes.plot(x, y, dashes, color=colour, linewidth=1.2)
    axes.plot(x, y, style.marker, color=colour, markersize=6)
