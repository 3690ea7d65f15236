"""Document frequencies of n-grams, and the inverse document frequencies that CIDEr weights by."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.ngrams import (
    HIGHEST,
    SHARD,
    Captions,
    Ngrams,
    count_references,
    find,
    number_words,
    read_captions,
    starts_run,
)

# Returns the inverse document frequency of each distinct n-gram; called for n = 1, 2, ... in turn.
Idf = Callable[[Ngrams], np.ndarray]


def own_idf(captions: Captions) -> Idf:
    """Return the idf with respect to the references of `captions`, as pycocoevalcap defines it."""
    return lambda ngrams: _idf(captions.images, ngrams.document_frequency_G)


def _idf(images: int, frequency_G: np.ndarray) -> np.ndarray:
    logs = _logs_to(images)
    return logs[images] - logs[frequency_G]


@lru_cache(maxsize=16)  # training scores the same images over and over
def _logs_to(count: int) -> np.ndarray:
    """Return the logarithms of 0 to `count`, where that of 0 is replaced by that of 1."""
    return exact.log(np.maximum(1, np.arange(count + 1)))


class DocumentFrequencies:
    """The number of images of a corpus in which each n-gram occurs, stored as its idf.

    An n-gram occurs in an image if some reference of the image contains it. For each n, n-grams
    are numbered in the order of (number of the first n - 1 words, number of the last word). It
    takes 16 bytes per distinct n-gram.

    Args:
        images: How many images the corpus has.
        words: The number of each word. The frequencies are empty until `add` is called for each
            length n in turn; `document_frequencies` does both.

    Raises:
        UserError: There are fewer than two images, so that every idf would be 0.
    """

    def __init__(self, images: int, words: Mapping[str, int]):
        if images < 2:
            raise UserError(
                f"{images} image{'' if images == 1 else 's'}: CIDEr needs two or more with"
                " references for its document frequencies; add images"
            )
        self.images = images
        # The idf of an n-gram that occurs in no image: as if it occurred in one.
        self.unknown = _logs_to(images)[-1]
        self.words = dict(words)
        self.keys: list[np.ndarray] = []
        self.idf: list[np.ndarray] = []

    def add(self, ngrams: Ngrams) -> np.ndarray:
        """Store the idf of each n-gram of one length, and return it."""
        keys_G = ngrams.prefix_G * len(self.words) + ngrams.word_G
        return self.add_counted(keys_G, ngrams.document_frequency_G)

    def add_counted(self, keys_G: np.ndarray, frequency_G: np.ndarray) -> np.ndarray:
        """Store the idf of n-grams that were counted before, and return it.

        Args:
            keys_G: For each n-gram, the number of its first n - 1 words * the number of words + the
                number of its last word, in ascending order.
            frequency_G: The number of images in which it occurs.
        """
        self.keys.append(keys_G)
        self.idf.append(_idf(self.images, frequency_G))
        return self.idf[-1]


def document_frequencies(references: Iterable[Sequence[str]]) -> DocumentFrequencies:
    """Count the document frequencies of a corpus.

    N-grams of one image are left out: they weigh as much as those of none. What begins with one
    occurs in one image too, so most of the longer n-grams of a large corpus are never sorted.

    Args:
        references: The tokenised references of each image.

    Raises:
        UserError: There are fewer than two images, or one has no reference.
    """
    images, vocabulary = list(references), number_words()
    count_references(images)  # so that a message has the number of an image in the whole corpus
    starts = range(0, len(images), SHARD)
    parts = [_Places(images[start : start + SHARD], vocabulary) for start in starts]
    frequencies = DocumentFrequencies(len(images), vocabulary)
    for n in range(1, HIGHEST + 1):
        counts = zip(*(part.count_images(n, len(vocabulary)) for part in parts), strict=True)
        keys_X, images_X = map(np.concatenate, counts)
        keys_G, images_G = _sum_by_key(keys_X, images_X)
        several_G = images_G > 1
        frequencies.add_counted(keys_G[several_G], images_G[several_G])
        for part in parts:
            part.keep(frequencies.keys[-1], n, len(vocabulary))
    return frequencies


class _Places:
    """The places (P) in some images' captions where an n-gram of several images may begin.

    Args:
        references: The references of these images.
        vocabulary: The number of each word, which is extended by the words of these images.
    """

    def __init__(self, references: Sequence[Sequence[str]], vocabulary: dict[str, int]):
        captions = read_captions(references, [], [], vocabulary)
        self._words_W = captions.word_numbers_W
        self._end_P = captions.end_W
        self._image_P = captions.image_C[captions.caption_of_word_W].astype(np.int32)
        self._start_P = np.arange(len(self._words_W), dtype=np.int32)
        self._prefix_P = np.zeros(len(self._words_W), np.int64)  # the number of n - 1 words

    def count_images(self, n: int, words: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of all n-grams, ascending, and the number of images of each."""
        self._select(self._start_P + n <= self._end_P)
        key_P = self._keys(n, words)
        order_P = np.argsort(key_P, kind="stable")  # the images of a key remain ascending
        key_P, image_P = key_P[order_P], self._image_P[order_P]
        is_first_P = starts_run(key_P) | starts_run(image_P)
        return _sum_runs(key_P, is_first_P.astype(np.int64))

    def keep(self, keys_G: np.ndarray, n: int, words: int) -> None:
        """Keep the places of the n-grams that have these keys, and number these n-grams."""
        known_P, number = find(keys_G, self._keys(n, words))
        self._select(known_P)
        self._prefix_P = number

    def _keys(self, n: int, words: int) -> np.ndarray:
        return self._prefix_P * words + self._words_W[self._start_P + n - 1]

    def _select(self, wanted_P: np.ndarray) -> None:
        self._start_P, self._end_P = self._start_P[wanted_P], self._end_P[wanted_P]
        self._image_P, self._prefix_P = self._image_P[wanted_P], self._prefix_P[wanted_P]


def _sum_by_key(key_X: np.ndarray, value_X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys, ascending, and the sum of the values of each."""
    order_X = np.argsort(key_X, kind="stable")
    return _sum_runs(key_X[order_X], value_X[order_X])


def _sum_runs(key_X: np.ndarray, value_X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for keys that are ascending already."""
    starts_G = np.flatnonzero(starts_run(key_X))
    return key_X[starts_G], np.add.reduceat(value_X, starts_G)


class Lookup:
    """The idf, in a corpus, of the n-grams of other captions; an `Idf`.

    Args:
        frequencies: The document frequencies of the corpus.
        captions: The other captions.
    """

    def __init__(self, frequencies: DocumentFrequencies, captions: Captions):
        self._frequencies = frequencies
        self._word_V = np.array(
            [frequencies.words.get(word, -1) for word in captions.vocabulary], np.int64
        )
        # The corpus's numbers of the n-grams of the latest call; -1 if it does not contain one.
        self.number_G = np.zeros(1, np.int64)

    def __call__(self, ngrams: Ngrams) -> np.ndarray:
        """Return the idf of each distinct n-gram of one length."""
        frequencies = self._frequencies
        prefix_G, word_G = self.number_G[ngrams.prefix_G], self._word_V[ngrams.word_G]
        wanted_G = np.where(
            (prefix_G < 0) | (word_G < 0), -1, prefix_G * len(frequencies.words) + word_G
        )
        found_G, number = find(frequencies.keys[ngrams.n - 1], wanted_G)
        self.number_G = np.full(len(wanted_G), -1)
        idf_G = np.full(len(wanted_G), frequencies.unknown)
        self.number_G[found_G], idf_G[found_G] = number, frequencies.idf[ngrams.n - 1][number]
        return idf_G
