"""CIDEr at the same mBLEU-4, interpolated between decodings of a system that differ in one setting.

Let m_j and c_j be mBLEU-4 and CIDEr of decoding j, and m_j <= m <= m_j+1. Then CIDEr at m is

    C(m) = (1 - w) c_j + w c_j+1,        w = (m - m_j) / (m_j+1 - m_j).

w is estimated from the same images as c. To first order, image i moves C(m) by its own CIDEr, and
by its influence on mBLEU-4 times the slope of the line between the two decodings (delta method):

    C_i = (1 - w) c_ij + w c_ij+1 - slope ((1 - w) m_ij + w m_ij+1 - m),
    slope = (c_j+1 - c_j) / (m_j+1 - m_j),

where m_ij are values whose mean is m_j (`random_effects.influences`). The mean of C_i is C(m), and
their spread is its uncertainty, so C_i enters intervals like any score per image.

Over a range from a to b, systems are compared by their mean CIDEr, the area under C(m) divided by
b - a. The range is the same for all systems, and who does not cover it has no area. Where CIDEr
rises with m, as along every useful dial, the area is the hypervolume (Zitzler & Thiele 1999) of the
curve in the range, with CIDEr 0 as the reference. C(m) and all C_i(m) are linear in m between two
decodings, so an integral between them is the width times the value in the middle.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from operator import itemgetter

import numpy as np
import pandas as pd

from dsacap.common.files import read_json
from dsacap.config.claims import Dial
from dsacap.reporting.units import scale_of
from dsacap.runs.layout import Layout
from dsacap.scoring.metrics.bleu import bleu_of_sums, bleu_statistics_within
from dsacap.scoring.metrics.metric_result import Pooled
from dsacap.scoring.random_effects import influences
from dsacap.text.ptb_tokenizer import ptb_tokenize

_N = 4  # of mBLEU
Point = tuple[pd.DataFrame, float]  # CIDEr and mBLEU by image, as below, and mBLEU-4


class Extrapolated(Exception):
    """Some mBLEU-4 at which CIDEr is wanted is not between those of two decodings."""


def cider_at(layout: Layout, dial: Dial, seed: int, at: float) -> Mapping[str, float]:
    """Return CIDEr (x100) at an mBLEU-4 by image: values whose mean is the interpolated CIDEr.

    Args:
        layout: The layout of the run.
        dial: The decodings between which CIDEr is interpolated.
        seed: The seed of the rows.
        at: The mBLEU-4.

    Raises:
        Extrapolated: `at` is not between the mBLEU-4 of two decodings.
    """
    around = (
        (left, right)
        for (left, low), (right, high) in pairwise(_covering(layout, dial, seed, at, at))
        if low <= at <= high and low < high
    )
    return interpolated(*next(around), at).to_dict()


def mean_cider(
    layout: Layout, dial: Dial, seed: int, between: tuple[float, float]
) -> Mapping[str, float]:
    """Return CIDEr (x100) over a range of mBLEU-4 by image: values whose mean is the mean CIDEr.

    Args:
        layout: The layout of the run.
        dial: The decodings between which CIDEr is interpolated.
        seed: The seed of the rows.
        between: The ends of the range.

    Raises:
        Extrapolated: The decodings do not cover the range.
    """
    return averaged(_covering(layout, dial, seed, *between), between).to_dict()


def averaged(points: Sequence[Point], between: tuple[float, float]) -> pd.Series:
    """Return mean CIDEr over a range of mBLEU-4 by image; see `mean_cider`.

    Args:
        points: Decodings with their mBLEU-4, ascending, which cover the range.
        between: The ends of the range.
    """
    start, end = between
    parts = []
    for (left, low), (right, high) in pairwise(points):
        a, b = max(start, low), min(end, high)
        if a < b:
            parts.append((b - a) / (end - start) * interpolated(left, right, (a + b) / 2))
    return sum(parts[1:], parts[0])


def _covering(layout: Layout, dial: Dial, seed: int, start: float, end: float) -> list[Point]:
    """The decodings of a dial by ascending mBLEU-4; Extrapolated if they do not cover a range."""
    decodings = [_point(layout, dial.system, decoding, seed) for decoding in dial.decodings]
    points = sorted(((point, point.mBLEU.mean()) for point in decodings), key=itemgetter(1))
    lowest, highest = points[0][1], points[-1][1]
    if not lowest <= start <= end <= highest or lowest == highest:
        raise Extrapolated(
            f"{dial.system} would be extrapolated: mBLEU-4 {lowest:.3f} to {highest:.3f} with seed"
            f" {seed}"
        )
    return points


def interpolated(left: pd.DataFrame, right: pd.DataFrame, at: float) -> pd.Series:
    """Return CIDEr at an mBLEU-4 by image; the columns of both decodings are CIDEr and mBLEU."""
    low, high = left.mBLEU.mean(), right.mBLEU.mean()
    w = (at - low) / (high - low)
    mixed = (1 - w) * left + w * right
    slope = (right.CIDEr.mean() - left.CIDEr.mean()) / (high - low)
    return mixed.CIDEr - slope * (mixed.mBLEU - at)


@cache  # several tests of a page need the same ones
def _point(layout: Layout, system: str, decoding: str, seed: int) -> pd.DataFrame:
    """CIDEr (x100) of a decoding and what each image adds to its mBLEU-4, by image."""
    scores = read_json(layout.scores(system, seed))[decoding]
    cider = pd.Series(scores["quality"]["CIDEr"]["per_image"]) * scale_of("CIDEr")
    by_image = read_json(layout.captions(system, seed))[decoding]
    texts = ptb_tokenize([text for captions in by_image.values() for text in captions])
    samples = np.reshape(np.array(texts, object), (len(by_image), -1)).tolist()
    return pd.DataFrame({"CIDEr": cider, "mBLEU": pd.Series(mbleu_by_image(samples), by_image)})


def mbleu_by_image(samples: list[list[str]]) -> np.ndarray:
    """Return values by image whose mean is mBLEU-4, and whose spread is its uncertainty.

    Args:
        samples: The tokenised captions of each image, as many for every image.
    """
    statistics, k = bleu_statistics_within(samples), len(samples[0])
    score = partial(bleu_of_sums, n=_N)
    slots = [Pooled(statistics.every(k, slot).table(), score) for slot in range(k)]
    return np.mean([influences(slot) for slot in slots], axis=0)
