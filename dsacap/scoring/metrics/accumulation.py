"""Do errors accumulate along a caption? What is right of it is the share of its trigrams that some reference of the image has."""

from collections.abc import Sequence

import numpy as np

_N = 3  # words of an n-gram


def right_ngrams(caption: str, references: Sequence[str]) -> list[bool]:
    """Of each trigram of a tokenised caption, in order: does a reference have it?"""
    known = {ngram for reference in references for ngram in _ngrams(reference)}
    return [ngram in known for ngram in _ngrams(caption)]


def late_minus_early(caption: str, references: Sequence[str]) -> float | None:
    """Share of right trigrams of a caption's second half less that of its first: below 0 where errors accumulate. None below two."""
    right = right_ngrams(caption, references)
    if len(right) < 2:
        return None
    middle = len(right) // 2
    return float(np.mean(right[middle:]) - np.mean(right[:middle]))


def recovery(after_wrong: str, after_right: str, references: Sequence[str]) -> float | None:
    """Share of right trigrams of what follows a wrong beginning less that of what follows the right one: below 0 as far as a captioner is
    led astray by its own words (exposure bias; Ranzato et al. 2016). Who falls silent after a wrong beginning, without a trigram, has said
    nothing right. None where the right beginning leads to no trigram."""
    wrong, right = (right_ngrams(rest, references) for rest in (after_wrong, after_right))
    return float(np.mean(wrong or [False]) - np.mean(right)) if right else None


def _ngrams(caption: str) -> list[tuple[str, ...]]:
    words = caption.split()
    return list(zip(*(words[n:] for n in range(_N)), strict=False))
