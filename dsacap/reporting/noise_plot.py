"""docs/noise.svg: CIDEr with noise minus CIDEr without it, for each job, with 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from dsacap.reporting.series_style import COLOURS
from dsacap.reporting.svg_figure import FRONT, STYLE, WIDTH, write_svg

_ROW = 0.26  # inches
_LINEAR = 10  # up to this effect the scale is linear
_TICKS = (-100, -50, -20, -10, -5, 0, 5, 10, 20, 50, 100)
_SHOWN = COLOURS[0][0]  # the colour of an effect that is shown; others are grey


@dataclass(frozen=True)
class Bar:
    """An effect in the plot.

    Attributes:
        job: What is written beside it.
        value: The effect on CIDEr (x100).
        low: The lower end of its interval.
        high: The upper end.
        sign: 1 or -1 if the effect is shown to have this sign, 0 if not; None: no verdict.
    """

    job: str
    value: float
    low: float
    high: float
    sign: int | None


def write_noise_plot(bars: Sequence[Bar], path: Path) -> None:
    """Draw the effects as an SVG, the first one on top; those that are not numbers are left out."""
    from matplotlib import rc_context  # takes a second to load, which other pages can do without
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    drawn = [bar for bar in bars if not isnan(bar.value)]
    height = 1.1 + _ROW * len(drawn)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        figure.subplots_adjust(0.55, 0.7 / height, 0.98, 1 - 0.35 / height)
        axes = figure.subplots()
        axes.axvline(0, color=FRONT, linewidth=1.5)
        for at, bar in enumerate(drawn):
            colour = _SHOWN if bar.sign else FRONT
            axes.plot([bar.low, bar.high], [at, at], "-", color=colour, linewidth=1.6)
            axes.plot([bar.value], [at], "o", color=colour, markersize=6)
        axes.set_yticks(range(len(drawn)), [bar.job for bar in drawn], fontsize=8)
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.set_title("CIDEr with noise minus CIDEr without it", loc="left", fontsize=11)
        axes.set_xscale("symlog", linthresh=_LINEAR)
        axes.xaxis.set_major_locator(FixedLocator(_TICKS))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"95 % intervals; grey: undecided (log scale beyond {_LINEAR})")
        axes.grid(alpha=0.6, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(which="both", length=0)
        write_svg(figure, path)
