"""Beginnings of captions, right and wrong: does a captioner that is made to begin with a wrong word recover from it?"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dsacap.data.prepared import Example
from dsacap.text.vocabulary import EOS, PAD, UNK, Vocabulary

WORDS = 4
_LEFT = 3  # words that a reference has beyond its beginning, at least
_SEED = 5


def beginnings(
    examples: Sequence[Example], train: Sequence[Example], vocabulary: Vocabulary
) -> dict[int, tuple[list[int], list[int]]]:
    """Image id -> the first WORDS word ids of its first reference that is long enough and of known words; and the same with one word, not
    the first, exchanged for another, drawn as often as words are in `train`. Images without such a reference are left out."""
    counts = Counter(
        word
        for example in train
        for caption in example.tokens
        for word in vocabulary.encode(caption, len(caption.split()))
    )
    words = np.array(sorted(word for word in counts if word > UNK))
    p_W = np.array([counts[word] for word in words], float)
    found = {}
    for example in examples:
        right = _first_words(example, vocabulary)
        if right is None:
            continue
        rng = np.random.default_rng([_SEED, example.image_id])
        place = int(rng.integers(1, WORDS))
        others = p_W * (words != right[place])
        found[example.image_id] = (
            right,
            [*right[:place], int(rng.choice(words, p=others / others.sum())), *right[place + 1 :]],
        )
    return found


def _first_words(example: Example, vocabulary: Vocabulary) -> list[int] | None:
    for caption in example.tokens:
        ids = vocabulary.encode(caption, WORDS + _LEFT)
        if ids[WORDS + _LEFT - 1] not in (EOS, PAD) and UNK not in ids[:WORDS]:
            return ids[:WORDS]
    return None
