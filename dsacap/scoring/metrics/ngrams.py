"""The n-grams of tokenised captions, counted once for BLEU and CIDEr.

Words become numbers, and n-grams rows of sorted numpy arrays. One stable sort for each length n
brings equal n-grams together. How often a caption contains one, which images do, and where the
references of an image share one with its candidates are then runs in that order. N-grams are not
hashed, so there are no collisions. Time grows as words * log(words). One n is in memory at a time,
some 150 bytes per word.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from dsacap.common.errors import UserError

SHARD = 10_000  # images whose n-grams are counted at a time: 100 MB with six captions each
HIGHEST = 4  # the longest n-grams, of BLEU-4 and CIDEr
_FITS_CACHE = 100_000  # most keys, of 8 bytes each, that the processor's cache holds


@dataclass(frozen=True)
class Captions:
    """The words of all references, image by image, and then those of all candidates.

    Any number of candidates may share an image. Shapes: W words, C captions (first R references),
    I images.
    """

    word_numbers_W: np.ndarray
    caption_of_word_W: np.ndarray
    lengths_C: np.ndarray  # in words
    image_C: np.ndarray
    references: int  # how many
    images: int  # how many
    vocabulary: dict[str, int]  # word -> number, in the order of first use

    @property
    def reference_start_I(self) -> np.ndarray:
        """The first reference of each image, and a last entry for the end."""
        return np.searchsorted(self.image_C[: self.references], np.arange(self.images + 1))

    @property
    def end_W(self) -> np.ndarray:
        """The word after the last one of each word's caption."""
        return np.repeat(np.cumsum(self.lengths_C), self.lengths_C)


def read_captions(
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
    image_of_candidate: Sequence[int] | np.ndarray,
    vocabulary: dict[str, int] | None = None,
) -> Captions:
    """Split captions into words, and number the words.

    Words are separated as by `str.split()`, as in pycocoevalcap's BLEU and CIDEr.

    Args:
        references: Tokenised references of each image.
        candidates: Tokenised captions, in any order.
        image_of_candidate: The index in `references` of each candidate's image.
        vocabulary: The result of `number_words`, for captions that are read part by part: it is
            extended by their words.

    Raises:
        UserError: An image has no reference.
    """
    counts = count_references(references)
    vocabulary = number_words() if vocabulary is None else vocabulary
    numbers, lengths = array("i"), array("i")
    for captions in (*references, candidates):
        for caption in captions:
            words = caption.split()
            lengths.append(len(words))
            numbers.extend(map(vocabulary.__getitem__, words))
    lengths_C = np.array(lengths, np.int64)
    image_C = np.concatenate(
        [np.repeat(np.arange(len(references)), counts), np.asarray(image_of_candidate, np.int64)]
    )
    caption_of_word_W = np.repeat(np.arange(len(lengths_C), dtype=np.int32), lengths_C)
    references_R, images = int(counts.sum()), len(references)
    return Captions(
        np.array(numbers, np.int32),
        caption_of_word_W,
        lengths_C,
        image_C,
        references_R,
        images,
        vocabulary,
    )


def count_references(references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the number of references of each image.

    Raises:
        UserError: An image has no reference.
    """
    counts = np.fromiter(map(len, references), np.int64, len(references))
    if not counts.all():
        raise UserError(
            f"image number {int(counts.argmin())} (from 0) has no reference; add one, or leave the"
            " image out"
        )
    return counts


def number_words() -> dict[str, int]:
    """Return a dictionary that gives each new word the next number."""
    return defaultdict(count().__next__)


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of one length n.

    A term is an n-gram in a caption; a group is the terms of one n-gram in the references of one
    image. Terms are in the order of (n-gram, caption). Shapes: G distinct n-grams, T terms, S terms
    of references, M groups.
    """

    n: int
    prefix_G: np.ndarray  # the number of the (n-1)-gram that it begins with; 0 for n = 1
    word_G: np.ndarray  # the number of its last word
    gram_T: np.ndarray
    caption_T: np.ndarray
    count_T: np.ndarray
    # The terms in the order of their first appearance in the captions, first those of references.
    by_appearance_T: np.ndarray
    terms_of_references_S: np.ndarray  # indices into T
    group_start_M: np.ndarray  # indices into S, and a last entry for the end
    group_key_M: np.ndarray  # n-gram * images + image, ascending
    images: int  # how many

    @property
    def document_frequency_G(self) -> np.ndarray:
        """The number of images whose references contain each n-gram."""
        return np.bincount(self.group_key_M // self.images, minlength=len(self.word_G))

    def groups(self, terms: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the groups that have the same n-gram and image as terms of candidates.

        Args:
            terms: Indices into T.
            image: The image of each of these terms.

        Returns:
            A mask of the terms that the references of the image contain, and the groups of those.
        """
        return find(self.group_key_M, self.gram_T[terms] * self.images + image)


def find(sorted_keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find keys in a sorted array.

    Args:
        sorted_keys: Distinct keys in ascending order.
        wanted: The keys to find, in any order.

    Returns:
        A mask of the wanted keys that were found, and the indices in `sorted_keys` of those.
    """
    if len(sorted_keys) > _FITS_CACHE:
        # Keys that are near each other in memory are looked up one after the other; otherwise most
        # steps of the search would wait for memory.
        order = np.argsort(wanted)
        index = np.empty(len(wanted), np.int64)
        index[order] = np.searchsorted(sorted_keys, wanted[order])
    else:
        index = np.searchsorted(sorted_keys, wanted)
    found = index < len(sorted_keys)
    found[found] = sorted_keys[index[found]] == wanted[found]
    return found, index[found]


def starts_run(keys: np.ndarray) -> np.ndarray:
    """Return a mask of the keys that differ from the previous one; the first always does."""
    starts = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=starts[1:])
    return starts


def count_ngrams(captions: Captions) -> Iterator[Ngrams]:
    """Count the n-grams of captions, for n = 1 to `HIGHEST` in turn."""
    words_W, caption_W = captions.word_numbers_W, captions.caption_of_word_W
    vocabulary = max(1, len(captions.vocabulary))
    words_left_W = captions.end_W - np.arange(len(words_W))
    start_P, gram_W = np.arange(len(words_W)), np.zeros(len(words_W), np.int64)
    for n in range(1, HIGHEST + 1):
        start_P = start_P[words_left_W[start_P] >= n]
        key_P = gram_W[start_P] * vocabulary + words_W[start_P + n - 1]
        order_P = np.argsort(key_P, kind="stable")
        key_P, start_in_order_P = key_P[order_P], start_P[order_P]
        is_new_gram_P = starts_run(key_P)
        gram_P = np.cumsum(is_new_gram_P) - 1
        gram_W[start_in_order_P] = gram_P
        keys_G = key_P[is_new_gram_P]
        terms = _terms(gram_P, is_new_gram_P, start_in_order_P, caption_W, len(words_W))
        yield Ngrams(
            n,
            keys_G // vocabulary,
            keys_G % vocabulary,
            *terms,
            *_groups(captions, *terms[:2]),
            captions.images,
        )


def _terms(
    gram_P: np.ndarray,
    is_new_gram_P: np.ndarray,
    start_P: np.ndarray,
    caption_W: np.ndarray,
    words: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return `gram_T`, `caption_T`, `count_T` and `by_appearance_T` of `Ngrams`."""
    caption_P = caption_W[start_P]
    ends_T = np.append(np.flatnonzero(is_new_gram_P | starts_run(caption_P)), len(caption_P))
    first_T, count_T = ends_T[:-1], ends_T[1:] - ends_T[:-1]
    term_at_W = np.full(words, -1)
    term_at_W[start_P[first_T]] = np.arange(len(first_T))
    return gram_P[first_T], caption_P[first_T], count_T, term_at_W[term_at_W >= 0]


def _groups(
    captions: Captions, gram_T: np.ndarray, caption_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `terms_of_references_S`, `group_start_M` and `group_key_M` of `Ngrams`."""
    # This shortcut saves a tenth of the time of a reward, which takes half a millisecond.
    if not captions.references:
        return np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64)
    terms_S = np.flatnonzero(caption_T < captions.references)
    key_S = gram_T[terms_S] * captions.images + captions.image_C[caption_T[terms_S]]
    start_M = np.flatnonzero(starts_run(key_S))
    return terms_S, np.append(start_M, len(terms_S)), key_S[start_M]
