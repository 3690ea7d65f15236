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


def late_minus_early(caption: str, references: Sequence[str]) -> float | None:
    """Return the share of right trigrams in a caption's second half minus that in its first half.

    Args:
        caption: A tokenised caption.
        references: Tokenised references of the image.

    Returns:
        The difference, -1..1, below 0 if errors accumulate; None if there are fewer than two
        trigrams.
    """
    right = right_ngrams(caption, references)
    if len(right) < 2:
        return None
    middle = len(right) // 2
    return float(np.mean(right[middle:]) - np.mean(right[:middle]))


def recovery(after_wrong: str, after_right: str, references: Sequence[str]) -> float | None:
    """Return the effect of a wrong beginning on the rest of a caption.

    This is the share of right trigrams in the continuation of a wrong beginning minus that in the
    continuation of the right beginning. It measures exposure bias (Ranzato et al. 2016).

    Args:
        after_wrong: The tokenised continuation of a wrong beginning. Without a trigram its share
            is 0.
        after_right: The tokenised continuation of the right beginning.
        references: Tokenised references of the image.

    Returns:
        The difference, -1..1, below 0 to the extent that the captioner is led astray by its own
        words; None if the right beginning is continued without a trigram.
    """
    wrong, right = (right_ngrams(rest, references) for rest in (after_wrong, after_right))
    return float(np.mean(wrong or [False]) - np.mean(right)) if right else None


def _ngrams(caption: str) -> list[tuple[str, ...]]:
    words = caption.split()
    return list(zip(*(words[n:] for n in range(_N)), strict=False))
