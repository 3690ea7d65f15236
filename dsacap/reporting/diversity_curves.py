"""Quality against diversity: a curve for each dial of each system, and the area under it.

A dial is a setting of decoding, such as the temperature, and its curve is CIDEr as a function of
mBLEU-4, interpolated between the decodings that the section `diversity` of the configuration lists
(`same_diversity.py` has the equations). The area is given as mean CIDEr over one range of mBLEU-4,
with an interval over images and, if there are several, over seeds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dsacap.common.files import read_json
from dsacap.config.claims import Dial, Diversity
from dsacap.reporting.cells import labels_of
from dsacap.reporting.diversity_plot import Line, Spot, write_diversity_plot
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.same_diversity import Extrapolated, mean_cider
from dsacap.reporting.units import scale_of
from dsacap.runs.layout import Layout, diversity_plot_of
from dsacap.scoring.random_effects import Effect, effect

_EXPLAINED = (
    "Mean CIDEr (x100) over that range: the area under the curve of CIDEr against mBLEU-4, divided"
    " by its width. A curve joins decodings that differ in one setting and is never extrapolated:"
    " a system that does not cover the range has n/a. The 95 % interval is over images, and over"
    " seeds where there are several. A decoding that gives one caption for an image has mBLEU-4 1"
    " in the plot, where hollow marks are on no curve."
)


@dataclass(frozen=True)
class Curve:
    """A dial with what was measured.

    Attributes:
        name: What the dial sets.
        dial: The system and its decodings.
        spots: The decodings, as means over seeds, by ascending mBLEU-4; empty if none is finished.
        seeds: The number of finished seeds.
        mean: Mean CIDEr (x100) over the range; None if there is none.
        reason: Why there is none.
    """

    name: str
    dial: Dial
    spots: tuple[Spot, ...]
    seeds: int
    mean: Effect | None
    reason: str | None = None


def diversity_curves(layout: Layout) -> list[Curve]:
    """Return the curves of the configuration's dials; none if it has no section `diversity`."""
    if (diversity := layout.config.diversity) is None:
        return []
    return [_curve(layout, name, dial, diversity.between) for name, dial in diversity.named_dials]


def diversity_section(layout: Layout, page: Path) -> list[str]:
    """Draw the plot next to a page, and return the page's section on it, in parts.

    Returns:
        No parts, and no plot is left, if the configuration has no section `diversity` or none of
        its decodings is finished.
    """
    curves, plot = diversity_curves(layout), diversity_plot_of(page)
    diversity = layout.config.diversity
    if diversity is None or not any(curve.spots for curve in curves):
        plot.unlink(missing_ok=True)  # of another run
        return []
    labels, between = labels_of(layout.config), diversity.between
    lines = [
        Line(curve.dial.system, f"{labels[curve.dial.system]}: {curve.name}", curve.spots)
        for curve in curves
        if curve.spots
    ]
    write_diversity_plot(lines, _other_spots(layout, diversity), labels, between, plot)
    headers = ["System", "Setting", "CIDEr", "95 % interval", "Seeds", "mBLEU-4 from", "to"]
    rows = [_cells(labels[curve.dial.system], curve) for curve in curves]
    return [
        "## Quality against diversity, over mBLEU-4 {:g} to {:g}".format(*between),
        f"![Quality against diversity]({plot.name})",
        markdown(headers, rows, texts=2),
        _EXPLAINED,
        *_reasons(labels, curves),
    ]


def _curve(layout: Layout, name: str, dial: Dial, between: tuple[float, float]) -> Curve:
    seeds = [
        seed
        for system, seed in layout.finished
        if system == dial.system and layout.captions(system, seed).exists()
    ]
    if not seeds:
        return Curve(name, dial, (), 0, None, "not yet run")
    spots = [_spot(layout, dial.system, decoding, seeds) for decoding in dial.decodings]
    ascending = tuple(sorted(spots, key=lambda spot: spot.mbleu))
    try:
        by_seed = {seed: mean_cider(layout, dial, seed, between) for seed in seeds}
    except Extrapolated as reason:
        return Curve(name, dial, ascending, len(seeds), None, str(reason))
    values_SI = pd.DataFrame.from_dict(by_seed, orient="index").to_numpy()
    return Curve(name, dial, ascending, len(seeds), effect([values_SI]))


def _spot(layout: Layout, system: str, decoding: str, seeds: Sequence[int]) -> Spot:
    """A decoding in the plot; one that gives one caption for an image has mBLEU-4 1."""
    parts = [read_json(layout.scores(system, seed))[decoding] for seed in seeds]
    mbleu = [
        of["diversity"]["mBLEU-4"]["value"] if "mBLEU-4" in of["diversity"] else 1.0 for of in parts
    ]
    cider = [scale_of("CIDEr") * of["quality"]["CIDEr"]["value"] for of in parts]
    return Spot(system, decoding, float(np.mean(mbleu)), float(np.mean(cider)))


def _other_spots(layout: Layout, diversity: Diversity) -> list[Spot]:
    """The decodings that are on no dial: searches, consensus, reranking, and single draws."""
    on_dials = {
        (row.system, row.decoding) for _, dial in diversity.named_dials for row in dial.rows
    }
    seeds: dict[str, list[int]] = {}
    for system, seed in layout.finished:
        seeds.setdefault(system, []).append(seed)
    return [
        _spot(layout, system, decoding, of_system)
        for system, of_system in seeds.items()
        for decoding in layout.config.systems[system].decodings
        if (system, decoding) not in on_dials
    ]


def _cells(label: str, curve: Curve) -> list[str]:
    ends = [f"{spot.mbleu:.3f}" for spot in (*curve.spots[:1], *curve.spots[-1:])] or ["-", "-"]
    if curve.mean is None:
        return [label, curve.name, "n/a", "-", str(curve.seeds), *ends]
    mean = curve.mean
    interval = f"{mean.low:.1f} to {mean.high:.1f}"
    return [label, curve.name, f"{mean.value:.1f}", interval, str(curve.seeds), *ends]


def _reasons(labels: dict[str, str], curves: Iterable[Curve]) -> list[str]:
    notes = [
        f"- n/a for {labels[curve.dial.system]}, {curve.name}: {curve.reason}"
        for curve in curves
        if curve.reason
    ]
    return ["\n".join(notes)] if notes else []
