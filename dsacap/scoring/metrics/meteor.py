"""The formula of METEOR 1.5 (Denkowski & Lavie 2014), applied to the counts of its aligner.

The corpus score sums these counts over images. The aligner is the official Java; the formula is
repeated here to resample its counts. A row of counts, as printed by the Java's `SCORE`, has:

- the words of the caption and of the best reference, and the function words of each;
- for each of the matchers exact, stem, synonym and paraphrase: the matched content words of the
  caption and of the reference, then the matched function words of each;
- the chunks;
- the matched words of the caption and of the reference.
"""

from collections.abc import Iterable

import numpy as np

from dsacap.scoring.metrics import exact

COUNTS = 23
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75  # English, as METEOR 1.5 sets them
_MATCHERS = np.array([1.0, 0.6, 0.8, 0.6])
_CHUNKS = 20


def meteor_counts(lines: Iterable[str]) -> np.ndarray:
    """Parse lines of `SCORE` into rows of counts that can be summed.

    As in METEOR, a caption that matches its reference word for word adds no chunk to the sum.

    Returns:
        Counts (images, COUNTS).
    """
    rows_IK = np.array([line.split() for line in lines], np.float64).reshape(-1, COUNTS)
    is_whole_I = (
        (rows_IK[:, 0] == rows_IK[:, 21])
        & (rows_IK[:, 1] == rows_IK[:, 22])
        & (rows_IK[:, _CHUNKS] == 1)
    )
    rows_IK[is_whole_I, _CHUNKS] = 0
    return rows_IK


def meteor_of_sums(sums_XK: np.ndarray) -> np.ndarray:
    """Return METEOR, 0..1, equal to the official scores within rounding.

    Args:
        sums_XK: X sums of rows of `meteor_counts`.

    Returns:
        X corpus scores.
    """
    precision_X, recall_X = (_weighted_share(sums_XK, side) for side in (0, 1))
    matched_X = (sums_XK[:, 21] + sums_XK[:, 22]) / 2
    fragmentation_X = _ratio(sums_XK[:, _CHUNKS], matched_X)
    mean_X = _ratio(precision_X * recall_X, (1 - _ALPHA) * recall_X + _ALPHA * precision_X)
    return mean_X * (1 - _GAMMA * exact.power(fragmentation_X, _BETA))


def _weighted_share(sums_XK: np.ndarray, side: int) -> np.ndarray:
    """Return weighted matches / weighted words of the captions (side 0) or the references (1)."""
    content_XM, function_XM = sums_XK[:, 4 + side : _CHUNKS : 4], sums_XK[:, 6 + side : _CHUNKS : 4]
    words_X, function_words_X = sums_XK[:, side], sums_XK[:, 2 + side]
    matches_X = ((_DELTA * content_XM + (1 - _DELTA) * function_XM) * _MATCHERS).sum(1)
    return _ratio(
        matches_X, _DELTA * (words_X - function_words_X) + (1 - _DELTA) * function_words_X
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(len(a)), where=b != 0)
