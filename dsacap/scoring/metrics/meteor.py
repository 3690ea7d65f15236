"""METEOR 1.5's formula (Denkowski & Lavie 2014) on the counts of its aligner: what its corpus score pools over images.

The aligner is the official Java; this is for resampling its counts. A row of counts, as the Java's `SCORE` prints it: words of the
caption and of the best reference, function words of each; for each of the matchers exact, stem, synonym and paraphrase, matched content
words of the caption and of the reference, then function words; chunks; matched words of the caption and of the reference.
"""

from collections.abc import Iterable

import numpy as np

from dsacap.scoring.metrics import exact

COUNTS = 23
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75  # English, as METEOR 1.5 sets them
_MATCHERS = np.array([1.0, 0.6, 0.8, 0.6])
_CHUNKS = 20


def meteor_counts(lines: Iterable[str]) -> np.ndarray:
    """The rows of `SCORE` lines, ready to be summed. A caption that matches its reference word by word brings no chunk to the sum, as
    in METEOR's own."""
    rows_IK = np.array([line.split() for line in lines], np.float64).reshape(-1, COUNTS)
    is_whole_I = (
        (rows_IK[:, 0] == rows_IK[:, 21])
        & (rows_IK[:, 1] == rows_IK[:, 22])
        & (rows_IK[:, _CHUNKS] == 1)
    )
    rows_IK[is_whole_I, _CHUNKS] = 0
    return rows_IK


def meteor_of_sums(sums_XK: np.ndarray) -> np.ndarray:
    """METEOR, 0..1, of X sums of rows of `meteor_counts`: METEOR's own numbers within rounding."""
    precision_X, recall_X = (_weighted_share(sums_XK, side) for side in (0, 1))
    matched_X = (sums_XK[:, 21] + sums_XK[:, 22]) / 2
    fragmentation_X = _ratio(sums_XK[:, _CHUNKS], matched_X)
    mean_X = _ratio(precision_X * recall_X, (1 - _ALPHA) * recall_X + _ALPHA * precision_X)
    return mean_X * (1 - _GAMMA * exact.power(fragmentation_X, _BETA))


def _weighted_share(sums_XK: np.ndarray, side: int) -> np.ndarray:
    """Weighted matches / weighted words, of the captions (`side` 0) or the references (1)."""
    content_XM, function_XM = sums_XK[:, 4 + side : _CHUNKS : 4], sums_XK[:, 6 + side : _CHUNKS : 4]
    words_X, function_words_X = sums_XK[:, side], sums_XK[:, 2 + side]
    matches_X = ((_DELTA * content_XM + (1 - _DELTA) * function_XM) * _MATCHERS).sum(1)
    return _ratio(
        matches_X, _DELTA * (words_X - function_words_X) + (1 - _DELTA) * function_words_X
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(len(a)), where=b != 0)
