"""ROUGE-L of captions as pycocoevalcap computes it.

The definition is that of Lin 2004 with beta 1.2, from the best precision and the best recall over
the references.
"""

from collections import defaultdict
from collections.abc import Sequence

_BETA = 1.2


def rouge_l(references: Sequence[str], candidate: str) -> float:
    """Return ROUGE-L of a caption, equal to that of pycocoevalcap to the last bit.

    As in pycocoevalcap, words are separated by single spaces, so an empty caption is one empty
    word. The longest common subsequence is computed by a bit-parallel algorithm (Hyyrö 2004), in
    which one integer is a row of the usual table.

    Args:
        references: Tokenised references of the image.
        candidate: A tokenised caption.

    Returns:
        The score, 0..1.
    """
    words = candidate.split(" ")
    positions: defaultdict[str, int] = defaultdict(int)  # word -> bits of its positions
    for position, word in enumerate(words):
        positions[word] |= 1 << position
    precision = recall = 0.0
    for reference in references:
        others = reference.split(" ")
        common = _longest_common(positions, len(words), others)
        precision, recall = max(precision, common / len(words)), max(recall, common / len(others))
    if not precision:
        return 0.0
    return ((1 + _BETA**2) * precision * recall) / (recall + _BETA**2 * precision)


def _longest_common(positions: dict[str, int], length: int, words: Sequence[str]) -> int:
    all_positions = row = (1 << length) - 1
    for word in words:
        if word in positions:
            step = row & positions[word]
            row = (row + step) | (row - step)
    return length - (row & all_positions).bit_count()
