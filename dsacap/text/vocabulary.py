"""The words that captioners may use, and the ids of the special ones."""

from collections import Counter
from collections.abc import Sequence

PAD, BOS, EOS, UNK = range(4)  # the first word ids of every vocabulary
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


class Vocabulary:
    """The words of captions and their ids.

    Attributes:
        words: All words in the order of their ids, `SPECIALS` first.
    """

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        self._id_of = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def of(cls, captions: Sequence[str], min_count: int) -> "Vocabulary":
        """Build the vocabulary of some captions.

        Args:
            captions: Tokenised captions.
            min_count: How often a word must occur to be included.

        Returns:
            The special words, then the others: the most frequent first, ties in order of spelling.
        """
        counts = Counter(word for caption in captions for word in caption.split())
        kept = sorted(
            (word for word, n in counts.items() if n >= min_count),
            key=lambda word: (-counts[word], word),
        )
        return cls([*SPECIALS, *kept])

    def encode(self, caption: str, max_words: int) -> list[int]:
        """Return the ids of a caption, cut or padded to a fixed length.

        Args:
            caption: A tokenised caption.
            max_words: How many of its words are kept.

        Returns:
            `max_words + 1` ids: those of the words, UNK for an unknown one, then EOS, then PAD.
        """
        ids = [self._id_of.get(word, UNK) for word in caption.split()[:max_words]] + [EOS]
        return ids + [PAD] * (max_words + 1 - len(ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of some ids, joined by spaces."""
        return " ".join(self.words[i] for i in ids)
