"""Right and wrong beginnings of captions.

They measure whether a captioner recovers from a wrong word that its caption has to begin with.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dsacap.data.prepared import Example
from dsacap.text.vocabulary import EOS, PAD, UNK, Vocabulary

WORDS = 4  # length of a beginning
_LEFT = 3  # fewest words that a reference must have after its beginning
_SEED = 5


def beginnings(
    examples: Sequence[Example], train: Sequence[Example], vocabulary: Vocabulary
) -> dict[int, tuple[list[int], list[int]]]:
    """Make a right and a wrong beginning of a caption for each image.

    The right one is that of the image's first reference that is long enough and begins with known
    words. In the wrong one, a word other than the first is replaced by another, drawn by the
    frequency of words in the train split.

    Args:
        examples: The images.
        train: The train split.
        vocabulary: The vocabulary by which words are encoded.

    Returns:
        For each image id the right and the wrong beginning, each of `WORDS` word ids. Images
        without a suitable reference are left out.
    """
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
