"""CIDEr-D as a reward, with document frequencies and reference vectors of the training corpus."""

from collections.abc import Iterable, Sequence

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.cider import (
    CiderScorer,
    Pairs,
    ReferenceVectors,
    cider_d,
    cider_d_of_pairs,
    norms,
)
from dsacap.scoring.metrics.document_frequencies import DocumentFrequencies, Lookup
from dsacap.scoring.metrics.ngrams import Captions, Ngrams, count_ngrams, read_captions, starts_run


class CiderDReward:
    """CIDEr-D whose document frequencies and document count are those of a training corpus.

    So the score of a caption does not depend on which images share its batch. The vectors of the
    corpus' references are computed once and kept: about 4 kB for an image with five captions.
    """

    def __init__(self, train_references: Iterable[Sequence[str]]):
        """Compute the vectors of all references.

        Args:
            train_references: The tokenised references of each training image.

        Raises:
            UserError: There are fewer than two images.
        """
        images = [tuple(references) for references in train_references]
        captions = read_captions(images, [], [])
        self.frequencies = DocumentFrequencies(captions.images, captions.vocabulary)
        self._image = {references: image for image, references in enumerate(images)}
        self._start_I, self._length_R = captions.reference_start_I, captions.lengths_C
        self._vectors = [
            _by_image(captions, ngrams, self.frequencies.add(ngrams))
            for ngrams in count_ngrams(captions)
        ]

    def score(self, references: Sequence[Sequence[str]], candidates: Sequence[str]) -> np.ndarray:
        """Score each candidate against its references.

        This is much faster if all lists of references are those of images of the corpus.

        Args:
            references: For each candidate, its tokenised references.
            candidates: Tokenised captions.

        Returns:
            CIDEr-D of shape `(candidates,)`, from 0 to 10.

        Raises:
            UserError: `references` and `candidates` differ in length, or a list is empty.
        """
        if len(references) != len(candidates):
            raise UserError(
                f"{len(candidates)} candidates need as many lists of references;"
                f" got {len(references)}"
            )
        if not len(candidates):
            return np.zeros(0)
        keys = [tuple(of_candidate) for of_candidate in references]
        if all(key in self._image for key in keys):
            return self._score_known(np.array([self._image[key] for key in keys]), candidates)
        number = {key: n for n, key in enumerate(dict.fromkeys(keys))}
        captions = read_captions(list(number), candidates, [number[key] for key in keys])
        scorer = CiderScorer(captions, Lookup(self.frequencies, captions))
        for ngrams in count_ngrams(captions):
            scorer.add(ngrams)
        return scorer.scores()

    def score_pairs(
        self, references: Sequence[Sequence[str]], candidates: Sequence[str]
    ) -> list[np.ndarray]:
        """Score each candidate against each single one of its references.

        Args:
            references: For each candidate, its tokenised references, which must be those of an
                image of the corpus.
            candidates: Tokenised captions.

        Returns:
            For each candidate, CIDEr-D of shape `(references,)`, from 0 to 10.

        Raises:
            KeyError: A list of references is not that of an image of the corpus.
        """
        image_K = np.array([self._image[tuple(of_candidate)] for of_candidate in references])
        pairs, cosines, length_K = self._cosines(image_K, candidates)
        of_pairs_P = cider_d_of_pairs(pairs, cosines, length_K, self._length_R)
        return np.split(of_pairs_P, np.cumsum(pairs.size_K)[:-1])

    def _score_known(self, image_K: np.ndarray, candidates: Sequence[str]) -> np.ndarray:
        pairs, cosines, length_K = self._cosines(image_K, candidates)
        return cider_d(pairs, cosines, length_K, self._length_R)

    def _cosines(
        self, image_K: np.ndarray, candidates: Sequence[str]
    ) -> tuple[Pairs, list[np.ndarray], np.ndarray]:
        """Return the pairs of candidates and references, their cosines per n, and the lengths."""
        captions = read_captions([], candidates, image_K.tolist())
        pairs, lookup = Pairs(image_K, self._start_I), Lookup(self.frequencies, captions)
        cosines = []
        for ngrams, vectors in zip(count_ngrams(captions), self._vectors, strict=True):
            order = ngrams.by_appearance_T
            gram, candidate = ngrams.gram_T[order], ngrams.caption_T[order]
            weight = ngrams.count_T[order] * lookup(ngrams)[gram]
            number = lookup.number_G[gram]
            key = np.where(
                number < 0,
                -1,
                image_K[candidate] * len(self.frequencies.keys[ngrams.n - 1]) + number,
            )
            cosines.append(vectors.cosines(pairs, key, candidate, weight))
        return pairs, cosines, captions.lengths_C


def _by_image(captions: Captions, ngrams: Ngrams, idf_G: np.ndarray) -> ReferenceVectors:
    """Return the vectors in the order of images, so that those for a batch are close in memory."""
    order = ngrams.by_appearance_T
    weight_T = ngrams.count_T * idf_G[ngrams.gram_T]
    norm_R = norms(ngrams.caption_T[order], weight_T[order], captions.references)
    key_T = captions.image_C[ngrams.caption_T] * len(idf_G) + ngrams.gram_T
    order = np.argsort(key_T, kind="stable")
    start_M = np.flatnonzero(starts_run(key_T[order]))
    ends_M = np.append(start_M, len(order)).astype(np.int32)
    reference_S = ngrams.caption_T[order].astype(np.int32)
    return ReferenceVectors(key_T[order[start_M]], ends_M, reference_S, weight_T[order], norm_R)
