"""The n-grams of tokenised captions, counted once for BLEU and CIDEr: words become numbers, n-grams rows of sorted numpy arrays.

One stable sort a length n brings equal n-grams together; how often a caption has one, which images do, and where the references of an
image share one with its candidates are then runs of that order. Nothing is hashed, so nothing collides. Time grows with the words (times
their logarithm) and one n is in memory at a time, some 150 bytes a word.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from dsacap.common.errors import UserError

HIGHEST = 4  # n of BLEU-4 and CIDEr
_FITS_CACHE = 100_000  # keys of 8 bytes


@dataclass(frozen=True)
class Captions:
    """The words of all references, those of one image after those of another, then of all candidates.

    Any number of candidates may share an image. Shapes: W words, C captions (R references first), I images.
    """

    word_numbers_W: np.ndarray
    caption_of_word_W: np.ndarray
    lengths_C: np.ndarray  # words
    image_C: np.ndarray
    references: int
    images: int
    vocabulary: dict[str, int]  # word -> number, in the order of first use

    @property
    def reference_start_I(self) -> np.ndarray:
        """The first reference of each image, and one entry more, for the end."""
        return np.searchsorted(self.image_C[: self.references], np.arange(self.images + 1))


def read_captions(
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
    image_of_candidate: Sequence[int],
) -> Captions:
    """`references` by image; `image_of_candidate` numbers them from 0. Raises UserError where an image has no reference.

    Words are what `str.split()` finds, as in pycocoevalcap's BLEU and CIDEr.
    """
    counts = np.fromiter(map(len, references), np.int64, len(references))
    if not counts.all():
        raise UserError(
            f"image number {int(counts.argmin())} (from 0) has no reference; leave it out or give it one"
        )
    vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
    numbers, lengths = array("q"), array("q")
    for captions in (*references, candidates):
        for caption in captions:
            words = caption.split()
            lengths.append(len(words))
            numbers.extend(map(vocabulary.__getitem__, words))
    lengths_C = np.array(lengths, np.int64)
    image_C = np.concatenate(
        [np.repeat(np.arange(len(references)), counts), np.asarray(image_of_candidate, np.int64)]
    )
    caption_of_word_W = np.repeat(np.arange(len(lengths_C)), lengths_C)
    references_R, images = int(counts.sum()), len(references)
    return Captions(
        np.array(numbers, np.int64),
        caption_of_word_W,
        lengths_C,
        image_C,
        references_R,
        images,
        vocabulary,
    )


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of one length n. Shapes: G distinct n-grams, T terms (an n-gram in a caption), S terms of references, M groups.

    Terms are in the order of (n-gram, caption); a group is the terms of one n-gram in the references of one image.
    """

    n: int
    prefix_G: np.ndarray  # which (n-1)-gram it goes on from; for n = 1, 0
    word_G: np.ndarray  # the number of its last word
    gram_T: np.ndarray
    caption_T: np.ndarray
    count_T: np.ndarray
    by_appearance_T: (
        np.ndarray
    )  # orders terms by where they first stand in the captions: references, then candidates
    terms_of_references_S: np.ndarray  # indices into T
    group_start_M: np.ndarray  # indices into S, and one entry more, for the end
    group_key_M: np.ndarray  # n-gram * images + image, ascending
    images: int

    @property
    def document_frequency_G(self) -> np.ndarray:
        """In the references of how many images each n-gram stands."""
        return np.bincount(self.group_key_M // self.images, minlength=len(self.word_G))

    def groups(self, terms: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For terms of candidates (indices into T) and their images: which of them the references of the image have, and those' groups."""
        return find(self.group_key_M, self.gram_T[terms] * self.images + image)


def find(sorted_keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of `wanted` stand in `sorted_keys` (a mask), and the places of those."""
    if (
        len(sorted_keys) > _FITS_CACHE
    ):  # neighbours in memory one after another, or most steps of the search wait for memory
        order = np.argsort(wanted)
        place = np.empty(len(wanted), np.int64)
        place[order] = np.searchsorted(sorted_keys, wanted[order])
    else:
        place = np.searchsorted(sorted_keys, wanted)
    found = place < len(sorted_keys)
    found[found] = sorted_keys[place[found]] == wanted[found]
    return found, place[found]


def starts_run(keys: np.ndarray) -> np.ndarray:
    """Which differ from the one before; the first does."""
    starts = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=starts[1:])
    return starts


def count_ngrams(captions: Captions) -> Iterator[Ngrams]:
    """The n-grams of n = 1 to HIGHEST, one n after another."""
    words_W, caption_W = captions.word_numbers_W, captions.caption_of_word_W
    vocabulary = max(1, len(captions.vocabulary))
    words_left_W = np.repeat(np.cumsum(captions.lengths_C), captions.lengths_C) - np.arange(
        len(words_W)
    )
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


def _terms(gram_P, is_new_gram_P, start_P, caption_W, words: int) -> tuple[np.ndarray, ...]:
    caption_P = caption_W[start_P]
    ends_T = np.append(np.flatnonzero(is_new_gram_P | starts_run(caption_P)), len(caption_P))
    first_T, count_T = ends_T[:-1], ends_T[1:] - ends_T[:-1]
    term_at_W = np.full(words, -1)
    term_at_W[start_P[first_T]] = np.arange(len(first_T))
    return gram_P[first_T], caption_P[first_T], count_T, term_at_W[term_at_W >= 0]


def _groups(
    captions: Captions, gram_T: np.ndarray, caption_T: np.ndarray
) -> tuple[np.ndarray, ...]:
    if (
        not captions.references
    ):  # a reward is computed in half a millisecond, so this is a tenth of it
        return np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64)
    terms_S = np.flatnonzero(caption_T < captions.references)
    key_S = gram_T[terms_S] * captions.images + captions.image_C[caption_T[terms_S]]
    start_M = np.flatnonzero(starts_run(key_S))
    return terms_S, np.append(start_M, len(terms_S)), key_S[start_M]
