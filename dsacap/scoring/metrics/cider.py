"""CIDEr-D (Vedantam et al. 2015) as pycocoevalcap computes it, for any document frequencies.

A caption is represented by four tf-idf vectors over its n-grams, n = 1..4. Its similarity to a
reference is the cosine of their vectors, with the caption's terms clipped to those of the
reference, times a Gaussian of the difference in length. CIDEr-D is ten times the mean over n and
references.

Sums run over a caption's n-grams in their order of appearance, as in pycocoevalcap, and logarithms
and Gaussians are rounded correctly (`exact.py`). So scores equal those of pycocoevalcap to the last
bit wherever its numpy and C library round correctly too, which depends on the processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.document_frequencies import Idf
from dsacap.scoring.metrics.ngrams import Captions, Ngrams, find

SIGMA = 6.0  # standard deviation of the Gaussian, in words


class Pairs:
    """All pairs (P) of a candidate (K) and a reference (R) of the same image (I).

    They are ordered by candidate, then by reference.

    Args:
        image_K: The image of each candidate.
        reference_start_I: The first reference of each image, and a last entry for the end.
    """

    def __init__(self, image_K: np.ndarray, reference_start_I: np.ndarray):
        self.image_K = image_K
        self.size_K = reference_start_I[image_K + 1] - reference_start_I[image_K]
        self.candidate_P = np.repeat(np.arange(len(image_K)), self.size_K)
        # The offset from a reference of the candidate's image to the pair of both.
        self.from_reference_K = np.cumsum(self.size_K) - self.size_K - reference_start_I[image_K]
        self.reference_P = (
            np.arange(len(self.candidate_P)) - self.from_reference_K[self.candidate_P]
        )


@dataclass(frozen=True)
class ReferenceVectors:
    """The tf-idf vectors of all references for one n.

    Their terms (S) are ordered so that the terms of one n-gram in one image are neighbours; these
    form a group (M).
    """

    key_M: np.ndarray  # a number for the n-gram and the image together, ascending
    start_M: np.ndarray  # indices into S, and a last entry for the end
    reference_S: np.ndarray
    weight_S: np.ndarray  # tf-idf
    norm_R: np.ndarray

    def cosines(
        self,
        pairs: Pairs,
        key_T: np.ndarray,
        candidate_T: np.ndarray,
        weight_T: np.ndarray,
        clipped: bool = True,
    ) -> np.ndarray:
        """Return the cosine of each pair of a candidate and a reference; 0 if a vector is 0.

        Args:
            pairs: The pairs (P).
            key_T: The key, as in `key_M`, of each term of a candidate, in order of appearance.
            candidate_T: The candidate of each term.
            weight_T: The tf-idf of each term.
            clipped: Whether the candidate's weights are clipped to the reference's (CIDEr-D).
        """
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
    """Return the Euclidean norms of tf-idf vectors.

    Args:
        caption_T: The caption of each term, in order of appearance.
        weight_T: The tf-idf of each term.
        captions: How many captions there are.
    """
    return np.sqrt(np.bincount(caption_T, weight_T * weight_T, captions))


def cider_d(
    pairs: Pairs, cosines_NP: Sequence[np.ndarray], length_K: np.ndarray, length_R: np.ndarray
) -> np.ndarray:
    """Return the CIDEr-D of each candidate, 0..10.

    Args:
        pairs: The pairs of candidates (K) and references (R).
        cosines_NP: For each n, the cosine of each pair.
        length_K: Words of each candidate.
        length_R: Words of each reference.
    """
    gaussian_P = _length_penalty(pairs, length_K, length_R)
    sums_NK = [
        np.bincount(pairs.candidate_P, cosine_P * gaussian_P, len(pairs.size_K))
        for cosine_P in cosines_NP
    ]
    return sum(sums_NK[1:], sums_NK[0]) / len(sums_NK) / pairs.size_K * 10.0


def cider_d_of_pairs(
    pairs: Pairs, cosines_NP: Sequence[np.ndarray], length_K: np.ndarray, length_R: np.ndarray
) -> np.ndarray:
    """Return the CIDEr-D of each pair, 0..10, whose mean over references is that of the candidate.

    The arguments are those of `cider_d`.
    """
    return np.mean(cosines_NP, axis=0) * _length_penalty(pairs, length_K, length_R) * 10.0


def _length_penalty(pairs: Pairs, length_K: np.ndarray, length_R: np.ndarray) -> np.ndarray:
    # pycocoevalcap measures lengths in bigrams.
    delta_P = np.abs(
        np.maximum(1, length_K[pairs.candidate_P]) - np.maximum(1, length_R[pairs.reference_P])
    )
    return _gaussian_to(int(delta_P.max(initial=0)))[delta_P]


@lru_cache(maxsize=256)  # computing these takes as long as all the rest of a reward: 0.5 ms
def _gaussian_to(longest: int) -> np.ndarray:
    """Return the Gaussian of 0 to `longest` words: powers of np.e, as in pycocoevalcap."""
    return exact.power(np.e, -np.square(np.arange(longest + 1.0)) / (2 * SIGMA**2))


class CiderScorer:
    """CIDEr of candidates against the references of their images.

    Args:
        captions: The references and candidates; then `add` has to be called with each result of
            `count_ngrams(captions)`, in order.
        idf: The inverse document frequencies.
        clipped: Whether the candidates' weights are clipped to the references' (CIDEr-D).
    """

    def __init__(self, captions: Captions, idf: Idf, clipped: bool = True):
        self._captions, self._idf, self._clipped = captions, idf, clipped
        self._pairs = Pairs(captions.image_C[captions.references :], captions.reference_start_I)
        self._cosines: list[np.ndarray] = []

    def add(self, ngrams: Ngrams) -> None:
        """Compute the cosines for the n-grams of one length."""
        captions, pairs, of_references = self._captions, self._pairs, ngrams.terms_of_references_S
        weight_T = ngrams.count_T * self._idf(ngrams)[ngrams.gram_T]
        # The terms of references come first, then those of candidates.
        first, then = np.split(ngrams.by_appearance_T, [len(of_references)])
        norm_R = norms(ngrams.caption_T[first], weight_T[first], captions.references)
        starts = ngrams.group_key_M, ngrams.group_start_M
        vectors = ReferenceVectors(
            *starts, ngrams.caption_T[of_references], weight_T[of_references], norm_R
        )
        candidate = ngrams.caption_T[then] - captions.references
        key = ngrams.gram_T[then] * captions.images + pairs.image_K[candidate]
        self._cosines.append(vectors.cosines(pairs, key, candidate, weight_T[then], self._clipped))

    def scores(self) -> np.ndarray:
        """Return the CIDEr-D of each candidate, 0..10."""
        length_R, length_K = np.split(self._captions.lengths_C, [self._captions.references])
        return cider_d(self._pairs, self._cosines, length_K, length_R)

    def mean_cosines(self) -> np.ndarray:
        """Return the mean over n of each pair's cosines, 0..1.

        If not `clipped`, this is a tenth of the pair's plain CIDEr.
        """
        return sum(self._cosines[1:], self._cosines[0]) / len(self._cosines)
