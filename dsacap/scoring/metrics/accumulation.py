"""How errors accumulate along a caption.

A trigram of a caption is right if some reference of the image contains it.
"""

from collections.abc import Sequence

import numpy as np

_N = 3  # words per n-gram


def right_ngrams(caption: str, references: Sequence[str]) -> list[bool]:
    """Return, for each trigram of a caption in order, whether some reference contains it.

    Args:
        caption: A tokenised caption.
        references: Tokenised references of the image.
    """
    known = {ngram for reference in references for ngram in _ngrams(reference)}
    return [ngram in known for ngram in _ngrams(caption)]


def share_right(caption: str, references: Sequence[str]) -> float:
    """Return the share of right trigrams in a caption or a part of one, 0..1.

    In the continuation of a wrong beginning it shows whether a captioner is led astray by its own
    words (exposure bias, Ranzato et al. 2016). It is the share itself, not the difference from the
    continuation of a right beginning, which would be small for a captioner that is bad at both.

    Args:
        caption: The tokenised caption or continuation. Without a trigram, nothing of it is right.
        references: Tokenised references of the image.
    """
    return float(np.mean(right_ngrams(caption, references) or [False]))


def _ngrams(caption: str) -> list[tuple[str, ...]]:
    words = caption.split()
    return list(zip(*(words[n:] for n in range(_N)), strict=False))
