"""How well the references of an image describe each other."""

import pandas as pd

from dsacap.scoring.metrics.coco_metrics import score_cider
from dsacap.scoring.score import held_out


def agreement_of(references: dict[int, list[str]]) -> pd.Series | None:
    """Return how well the references of an image describe each other, by image id.

    That is the mean CIDEr (0..10) of each against the others; None if some image has only one
    reference.
    """
    if not (rounds := held_out(references)):
        return None
    return pd.DataFrame([score_cider(others, one).per_image for one, others in rounds]).mean()
