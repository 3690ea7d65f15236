"""The gate of judges: one that ranks human captions below those of a system decides no claim.

A judge looks at what a generator makes of captions. People wrote what is on the photos, so a judge
that prefers a system's captions to theirs measures something else, such as how typical a caption
is. The first reference of each image is compared with each row that some claim compares by the
judge: paired by image, seeds and images as random effects, with Holm's correction for the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import fmean

import numpy as np

from dsacap.common.files import read_json
from dsacap.config.claims import RECONSTRUCTIONS
from dsacap.config.sections import Row
from dsacap.evaluation.comparison import LEVEL, holm
from dsacap.runs.layout import HUMAN, Layout
from dsacap.scoring.random_effects import Effect, effect

_REFERENCES = Row(system=HUMAN, decoding="references")


@dataclass(frozen=True)
class Failure:
    """A row that a judge ranks above human captions; of several, the one that is furthest above.

    Attributes:
        metric: What the judge measures.
        row: The row.
        human: The mean (x100) of human captions.
        above: By how much (x100) the mean of the row exceeds it.
    """

    metric: str
    row: Row
    human: float
    above: Effect

    @property
    def reason(self) -> str:
        """Why there can be no verdict by this judge."""
        return f"the judge ranks human captions below those of {self._row}"

    @property
    def sentence(self) -> str:
        """The failure in a sentence with its numbers."""
        above = self.above
        return (
            f"{self.metric} decides no claim, because it ranks human captions ({self.human:.1f})"
            f" below those of {self._row}, by {above.value:.1f} ({above.low:.1f} to"
            f" {above.high:.1f})."
        )

    @property
    def _row(self) -> str:
        return f"{self.row.system}, {self.row.decoding}"


@cache  # several tests of a page ask for the same one
def failure_of(layout: Layout, metric: str) -> Failure | None:
    """Return how a judge fails the gate, if it does.

    Args:
        layout: The layout of the run, whose configuration has claims.
        metric: What is measured.

    Returns:
        The failure; None if the judge passes, or if `metric` is not measured by a judge.
    """
    ablation = layout.config.ablation
    if metric not in RECONSTRUCTIONS or ablation is None:
        return None
    rows = [
        Row(system=system, decoding=decoding)
        for system, decodings in ablation.decodings_tested(metric).items()
        for decoding in decodings
    ]
    human = reconstruction_scores(layout, _REFERENCES, 0, metric)
    above = [_above(layout, row, metric, human) for row in rows]
    corrected = holm([found.p for found in above])
    failures = [
        Failure(metric, row, 100 * fmean(human.values()), found)
        for row, found, p in zip(rows, above, corrected, strict=True)
        if p < LEVEL and found.value > 0
    ]
    return max(failures, key=lambda failure: failure.above.value, default=None)


def reconstruction_scores(layout: Layout, row: Row, seed: int, metric: str) -> Mapping[str, float]:
    """Return what a judge measures of a row's captions, by image."""
    return read_json(layout.reconstructions(row.system, seed))[row.decoding][metric]


def _above(layout: Layout, row: Row, metric: str, human: Mapping[str, float]) -> Effect:
    """By how much the scores (x100) of a row exceed those of human captions."""
    of_seeds = [
        reconstruction_scores(layout, row, seed, metric)
        for seed in layout.config.seeds_of(row.system)
    ]
    images = [image for image in human if image in of_seeds[0]]  # whose photos could be read
    more_SI = [[100 * (scores[i] - human[i]) for i in images] for scores in of_seeds]
    return effect([np.array(more_SI)])
