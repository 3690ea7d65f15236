"""ROUGE-L of captions, as pycocoevalcap computes it (Lin 2004, beta 1.2, best precision and best recall over references)."""

from collections import defaultdict
from collections.abc import Sequence

_BETA = 1.2


def rouge_l(references: Sequence[str], candidate: str) -> float:
    """ROUGE-L of a tokenised caption, 0..1, equal to pycocoevalcap's to the last bit.

    Words are parted at single spaces, as there; so an empty caption is one empty word. The longest common subsequence is found bit by
    bit in parallel (Hyyrö 2004): a row of the usual table is one integer.
    """
    words = candidate.split(" ")
    places: defaultdict[str, int] = defaultdict(int)
    for place, word in enumerate(words):
        places[word] |= 1 << place
    precision = recall = 0.0
    for reference in references:
        said = reference.split(" ")
        common = _longest_common(places, len(words), said)
        precision, recall = max(precision, common / len(words)), max(recall, common / len(said))
    if not precision:
        return 0.0
    return ((1 + _BETA**2) * precision * recall) / (recall + _BETA**2 * precision)


def _longest_common(places: dict[str, int], length: int, words: Sequence[str]) -> int:
    all_places = row = (1 << length) - 1
    for word in words:
        if word in places:
            step = row & places[word]
            row = (row + step) | (row - step)
    return length - (row & all_places).bit_count()
