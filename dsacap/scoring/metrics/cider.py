"""CIDEr-D (Vedantam et al. 2015) as pycocoevalcap computes it, with the document frequencies of any corpus.

A caption is four tf-idf vectors over its n-grams, n = 1..4. The similarity to a reference is their cosine, its terms clipped to the
reference's, times a Gaussian of the difference in length; CIDEr-D is ten times its mean over n and references. Sums run over a
caption's n-grams in their order of appearance, as in pycocoevalcap, and its logarithms and Gaussians are rounded correctly (`exact.py`):
scores are those of pycocoevalcap to the last bit wherever its numpy and C library round so, which depends on the processor.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.ngrams import Captions, Ngrams, count_ngrams, find, read_captions

SIGMA = 6.0  # of the Gaussian, in words
Idf = Callable[
    [Ngrams], np.ndarray
]  # the inverse document frequency of each distinct n-gram; asked for n = 1, 2, ... in turn


# ------------------------------------------------------------------------------------------------------- document frequencies


def own_idf(captions: Captions) -> Idf:
    """Document frequencies of the references of `captions` themselves: what pycocoevalcap does."""
    return lambda ngrams: _idf(captions.images, ngrams.document_frequency_G)


def _idf(images: int, frequency_G: np.ndarray) -> np.ndarray:
    logs = _logs_to(images)
    return logs[images] - logs[frequency_G]


@lru_cache(maxsize=16)  # training scores the same images over and over
def _logs_to(count: int) -> np.ndarray:
    """The logarithms of 0 to `count`; that of 0 is taken to be that of 1."""
    return exact.log(np.maximum(1, np.arange(count + 1)))


class DocumentFrequencies:
    """In how many of a corpus' images, by their references, each n-gram stands; 16 bytes a distinct n-gram.

    N-grams are numbered, n by n, in the order of (number of the first n - 1 words, number of the last).
    """

    def __init__(self, captions: Captions):
        """Empty, to be filled by `add` with `count_ngrams(captions)`; `document_frequencies` does both. Raises UserError where there
        are fewer than two images: every idf would be 0."""
        if captions.images < 2:
            raise UserError(
                f"document frequencies of {captions.images} image: CIDEr needs the references of two or more"
            )
        self.images = captions.images
        self.unknown = _logs_to(captions.images)[
            -1
        ]  # idf of an n-gram that no image has: as if one had
        self.words = dict(captions.vocabulary)
        self.keys: list[np.ndarray] = []
        self.idf: list[np.ndarray] = []

    def add(self, ngrams: Ngrams) -> np.ndarray:
        """Remembers the idf of each n-gram and returns it."""
        self.keys.append(ngrams.prefix_G * len(self.words) + ngrams.word_G)
        self.idf.append(_idf(self.images, ngrams.document_frequency_G))
        return self.idf[-1]


def document_frequencies(references: Iterable[Sequence[str]]) -> DocumentFrequencies:
    """Those of a corpus of tokenised references, one list an image."""
    captions = read_captions(list(references), [], [])
    frequencies = DocumentFrequencies(captions)
    for ngrams in count_ngrams(captions):
        frequencies.add(ngrams)
    return frequencies


class Lookup:
    """The idf (an `Idf`) and the corpus' numbers of the n-grams of other captions."""

    def __init__(self, frequencies: DocumentFrequencies, captions: Captions):
        self._frequencies = frequencies
        self._word_V = np.array(
            [frequencies.words.get(word, -1) for word in captions.vocabulary], np.int64
        )
        self.number_G = np.zeros(
            1, np.int64
        )  # of the n-grams last asked for; -1 where the corpus has none

    def __call__(self, ngrams: Ngrams) -> np.ndarray:
        frequencies = self._frequencies
        prefix_G, word_G = self.number_G[ngrams.prefix_G], self._word_V[ngrams.word_G]
        wanted_G = np.where(
            (prefix_G < 0) | (word_G < 0), -1, prefix_G * len(frequencies.words) + word_G
        )
        found_G, number = find(frequencies.keys[ngrams.n - 1], wanted_G)
        self.number_G, idf_G = (
            np.full(len(wanted_G), -1),
            np.full(len(wanted_G), frequencies.unknown),
        )
        self.number_G[found_G], idf_G[found_G] = number, frequencies.idf[ngrams.n - 1][number]
        return idf_G


# ------------------------------------------------------------------------------------------------------- similarities


class Pairs:
    """Every candidate (K) beside every reference (R) of its image (I): P pairs, in the candidates' order, then the references'."""

    def __init__(self, image_K: np.ndarray, reference_start_I: np.ndarray):
        """`reference_start_I` has one entry more than there are images, the end of the last."""
        self.image_K = image_K
        self.size_K = reference_start_I[image_K + 1] - reference_start_I[image_K]
        self.candidate_P = np.repeat(np.arange(len(image_K)), self.size_K)
        self.from_reference_K = (
            np.cumsum(self.size_K) - self.size_K - reference_start_I[image_K]
        )  # to be added to a reference: its pair
        self.reference_P = (
            np.arange(len(self.candidate_P)) - self.from_reference_K[self.candidate_P]
        )


@dataclass(frozen=True)
class ReferenceVectors:
    """The terms (S) of all references for one n, ordered so that those of one n-gram in one image are neighbours: a group (M)."""

    key_M: np.ndarray  # a number for the n-gram and the image together, ascending
    start_M: np.ndarray  # indices into S, and one entry more, for the end
    reference_S: np.ndarray
    weight_S: np.ndarray  # tf-idf
    norm_R: np.ndarray

    def cosines(
        self, pairs: Pairs, key_T, candidate_T, weight_T: np.ndarray, clipped: bool = True
    ) -> np.ndarray:
        """The cosine of each pair, 0 where a vector is; of the candidates' terms T, in their order of appearance."""
        found_T, group = find(self.key_M, key_T)
        size = self.start_M[group + 1] - self.start_M[group]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        shared = np.repeat(self.start_M[group], size) + within
        ours, theirs = np.repeat(weight_T[found_T], size), self.weight_S[shared]
        pair = (
            np.repeat(pairs.from_reference_K[candidate_T[found_T]], size) + self.reference_S[shared]
        )
        product_P = np.bincount(
            pair, (np.minimum(ours, theirs) if clipped else ours) * theirs, len(pairs.candidate_P)
        )
        norm_P = (
            norms(candidate_T, weight_T, len(pairs.image_K))[pairs.candidate_P]
            * self.norm_R[pairs.reference_P]
        )
        return np.divide(product_P, norm_P, out=np.zeros(len(norm_P)), where=norm_P != 0)


def norms(caption_T: np.ndarray, weight_T: np.ndarray, captions: int) -> np.ndarray:
    """The lengths of tf-idf vectors, given by terms in their order of appearance."""
    return np.sqrt(np.bincount(caption_T, weight_T * weight_T, captions))


def cider_d(
    pairs: Pairs, cosines_NP: Sequence[np.ndarray], length_K: np.ndarray, length_R: np.ndarray
) -> np.ndarray:
    """CIDEr-D of each candidate, 0..10, from the cosines for each n and the captions' lengths in words."""
    gaussian_P = _length_penalty(pairs, length_K, length_R)
    sums_NK = [
        np.bincount(pairs.candidate_P, cosine_P * gaussian_P, len(pairs.size_K))
        for cosine_P in cosines_NP
    ]
    return sum(sums_NK[1:], sums_NK[0]) / len(sums_NK) / pairs.size_K * 10.0


def cider_d_of_pairs(
    pairs: Pairs, cosines_NP: Sequence[np.ndarray], length_K: np.ndarray, length_R: np.ndarray
) -> np.ndarray:
    """CIDEr-D of each pair, 0..10: a candidate's CIDEr-D is the mean of its pairs'."""
    return np.mean(cosines_NP, axis=0) * _length_penalty(pairs, length_K, length_R) * 10.0


def _length_penalty(pairs: Pairs, length_K: np.ndarray, length_R: np.ndarray) -> np.ndarray:
    # pycocoevalcap measures length in bigrams
    delta_P = np.abs(
        np.maximum(1, length_K[pairs.candidate_P]) - np.maximum(1, length_R[pairs.reference_P])
    )
    return _gaussian_to(int(delta_P.max(initial=0)))[delta_P]


@lru_cache(maxsize=256)  # a reward is computed in half a millisecond, as these are
def _gaussian_to(longest: int) -> np.ndarray:
    """Of differences of 0 to `longest` words; powers of the float nearest to e, as there."""
    return exact.power(np.e, -np.square(np.arange(longest + 1.0)) / (2 * SIGMA**2))


class CiderScorer:
    """CIDEr of the candidates of `captions` against the references of their images, from `count_ngrams`."""

    def __init__(self, captions: Captions, idf: Idf, clipped: bool = True):
        self._captions, self._idf, self._clipped = captions, idf, clipped
        self._pairs = Pairs(captions.image_C[captions.references :], captions.reference_start_I)
        self._cosines: list[np.ndarray] = []

    def add(self, ngrams: Ngrams) -> None:
        captions, pairs, of_references = self._captions, self._pairs, ngrams.terms_of_references_S
        weight_T = ngrams.count_T * self._idf(ngrams)[ngrams.gram_T]
        first, then = np.split(
            ngrams.by_appearance_T, [len(of_references)]
        )  # references, candidates
        norm_R = norms(ngrams.caption_T[first], weight_T[first], captions.references)
        starts = ngrams.group_key_M, ngrams.group_start_M
        vectors = ReferenceVectors(
            *starts, ngrams.caption_T[of_references], weight_T[of_references], norm_R
        )
        candidate = ngrams.caption_T[then] - captions.references
        key = ngrams.gram_T[then] * captions.images + pairs.image_K[candidate]
        self._cosines.append(vectors.cosines(pairs, key, candidate, weight_T[then], self._clipped))

    def scores(self) -> np.ndarray:
        """CIDEr-D of each candidate, 0..10: the mean over its image's references."""
        length_R, length_K = np.split(self._captions.lengths_C, [self._captions.references])
        return cider_d(self._pairs, self._cosines, length_K, length_R)

    def mean_cosines(self) -> np.ndarray:
        """Of each pair, 0..1, over n; CIDEr of the pair / 10 where not `clipped`."""
        return sum(self._cosines[1:], self._cosines[0]) / len(self._cosines)
