"""What the plots in SVG have in common: their style, dark pages, and names beside a panel.

They are as wide as a README, so that their text is read without zooming.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsacap.common.files import read_text, replacing, write_text
from dsacap.reporting.series_style import COLOURS, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.6  # inches
FRONT = "#999999"
_LINE = 0.21  # inches: from one label to the next
_LABELS = 1.04  # of the width of a panel: where labels begin
_BESIDE, _CHARACTER = 0.6, 0.073  # inches: the margin of labels, and the width of a character
# The colours on light pages, and their replacements on dark ones.
_DARK = {"#ffffff": "#14171c", "#1a1d23": "#e7eaf0", "#d5d9e0": "#39414e", FRONT: "#7d8796"}
_PAPER, INK, GRID, _ = _DARK
# matplotlib's settings: the same file every time, with text that can be searched.
STYLE: Any = {
    "svg.hashsalt": "dsacap",
    "svg.fonttype": "none",
    "font.size": 10,
    "figure.facecolor": _PAPER,
    "axes.facecolor": _PAPER,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
}


@dataclass(frozen=True)
class Named:
    """A point of a panel and the name that is written beside the panel.

    Attributes:
        x: Where the point is, in the units of the axis.
        y: How high it is, in those of its axis.
        text: The name.
        style: How the point is drawn.
        dashes: How the line through it is drawn, as matplotlib names it; empty without a line.
    """

    x: float
    y: float
    text: str
    style: Style
    dashes: str = ""


def write_svg(figure: "Figure", path: Path) -> None:
    """Write a figure, whose colours change on dark pages."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
        text = read_text(temporary).replace("<defs>", f"{_dark_rules()}<defs>", 1)
        write_text(temporary, text)


def room_for(names: Sequence[str]) -> float:
    """Return where panels end on the right, as a share of the width, to leave room for names."""
    return max(0.4, 1 - (_BESIDE + _CHARACTER * max(map(len, names))) / WIDTH)


def name_beside(axes: "Axes", points: Sequence[Named]) -> None:
    """Write names beside a panel, each joined by a thin line to its point."""
    to_panel = axes.transData + axes.transAxes.inverted()
    wanted = [to_panel.transform((point.x, point.y))[1] for point in points]
    inches = axes.bbox.height / axes.figure.dpi
    for point, y in zip(points, spread(wanted, _LINE / inches), strict=True):
        colour = COLOURS[point.style.colour][0]
        drawn: Any = {"xycoords": "data", "textcoords": axes.transAxes, "annotation_clip": False}
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7, "shrinkB": 4}
        axes.annotate("", (point.x, point.y), (_LABELS, y), arrowprops=line, **drawn)
        beside: Any = {"transform": axes.transAxes, "clip_on": False}
        if point.dashes:
            ends = [_LABELS, _LABELS + 0.056]
            axes.plot(ends, [y, y], point.dashes, color=colour, linewidth=1.2, **beside)
        marker: Any = {"marker": point.style.marker, "color": colour, "markersize": 6}
        axes.plot([_LABELS + 0.028 if point.dashes else _LABELS + 0.012], [y], **marker, **beside)
        axes.text(
            _LABELS + (0.07 if point.dashes else 0.035),
            y,
            point.text,
            va="center",
            fontsize=9,
            **beside,
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
    text = f"text{{fill:{_DARK[INK]}!important}}"
    return f"<style>@media (prefers-color-scheme: dark){{{rules}{text}}}</style>\n"
