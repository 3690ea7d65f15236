"""This module defines the words that captioners may use, and the ids of the special ones."""

from collections import Counter
from collections.abc import Sequence

PAD, BOS, EOS, UNK = range(4)  # the first word ids of every vocabulary
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


class Vocabulary:
    """Words and their ids. Unknown words become UNK when encoded."""

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        self._id_of = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def of(cls, captions: Sequence[str], min_count: int) -> "Vocabulary":
        """All words that stand at least `min_count` times in tokenised `captions`; the commonest first, ties by spelling."""
        counts = Counter(word for caption in captions for word in caption.split())
        kept = sorted(
            (word for word, n in counts.items() if n >= min_count),
            key=lambda word: (-counts[word], word),
        )
        return cls([*SPECIALS, *kept])

    def encode(self, caption: str, max_words: int) -> list[int]:
        """max_words + 1 ids: the caption's first words, EOS, then PAD."""
        ids = [self._id_of.get(word, UNK) for word in caption.split()[:max_words]] + [EOS]
        return ids + [PAD] * (max_words + 1 - len(ids))

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.words[i] for i in ids)
