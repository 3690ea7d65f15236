"""CIDEr-D as a reward for training: the training corpus' document frequencies, its references made into vectors once."""

from collections.abc import Iterable, Sequence

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.cider import (
    CiderScorer,
    DocumentFrequencies,
    Lookup,
    Pairs,
    ReferenceVectors,
    cider_d,
    cider_d_of_pairs,
    norms,
)
from dsacap.scoring.metrics.ngrams import Captions, Ngrams, count_ngrams, read_captions, starts_run


class CiderDReward:
    """CIDEr-D with the document frequencies and the document count of a training corpus, whatever images a batch holds.

    The reference vectors of the corpus are kept, image by image: some 4 kB an image of five captions.
    """

    def __init__(self, train_references: Iterable[Sequence[str]]):
        """`train_references` are the tokenised references of each training image. Raises UserError where there are fewer than two."""
        images = [tuple(said) for said in train_references]
        captions = read_captions(images, [], [])
        self.frequencies = DocumentFrequencies(captions)
        self._image = {said: image for image, said in enumerate(images)}
        self._start_I, self._length_R = captions.reference_start_I, captions.lengths_C
        self._vectors = [
            _by_image(captions, ngrams, self.frequencies.add(ngrams))
            for ngrams in count_ngrams(captions)
        ]

    def score(self, references: Sequence[Sequence[str]], candidates: Sequence[str]) -> np.ndarray:
        """CIDEr-D, 0..10, of each tokenised candidate against the list of references beside it.

        Much faster where all lists are of the corpus than where they have to be counted. Raises UserError where the lists are not as
        many as the candidates, or one is empty.
        """
        if len(references) != len(candidates):
            raise UserError(
                f"{len(candidates)} candidates need as many lists of references, got {len(references)}"
            )
        if not len(candidates):
            return np.zeros(0)
        keys = [tuple(said) for said in references]
        if all(said in self._image for said in keys):
            return self._score_known(np.array([self._image[said] for said in keys]), candidates)
        number = {said: n for n, said in enumerate(dict.fromkeys(keys))}
        captions = read_captions(list(number), candidates, [number[said] for said in keys])
        scorer = CiderScorer(captions, Lookup(self.frequencies, captions))
        for ngrams in count_ngrams(captions):
            scorer.add(ngrams)
        return scorer.scores()

    def score_pairs(
        self, references: Sequence[Sequence[str]], candidates: Sequence[str]
    ) -> list[np.ndarray]:
        """Of each candidate, its CIDEr-D, 0..10, against each of the references beside it, which must be lists of the corpus."""
        image_K = np.array([self._image[tuple(said)] for said in references])
        pairs, cosines, length_K = self._cosines(image_K, candidates)
        of_pairs_P = cider_d_of_pairs(pairs, cosines, length_K, self._length_R)
        return np.split(of_pairs_P, np.cumsum(pairs.size_K)[:-1])

    def _score_known(self, image_K: np.ndarray, candidates: Sequence[str]) -> np.ndarray:
        pairs, cosines, length_K = self._cosines(image_K, candidates)
        return cider_d(pairs, cosines, length_K, self._length_R)

    def _cosines(
        self, image_K: np.ndarray, candidates: Sequence[str]
    ) -> tuple[Pairs, list[np.ndarray], np.ndarray]:
        """Every candidate beside the references of its image: the cosines for each n; and the candidates' lengths."""
        captions = read_captions([], candidates, image_K)
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
    """Groups in the order of images: those that a batch looks for are then near each other in memory."""
    order = ngrams.by_appearance_T
    weight_T = ngrams.count_T * idf_G[ngrams.gram_T]
    norm_R = norms(ngrams.caption_T[order], weight_T[order], captions.references)
    key_T = captions.image_C[ngrams.caption_T] * len(idf_G) + ngrams.gram_T
    order = np.argsort(key_T, kind="stable")
    start_M = np.flatnonzero(starts_run(key_T[order]))
    ends_M = np.append(start_M, len(order)).astype(np.int32)
    reference_S = ngrams.caption_T[order].astype(np.int32)
    return ReferenceVectors(key_T[order[start_M]], ends_M, reference_S, weight_T[order], norm_R)
