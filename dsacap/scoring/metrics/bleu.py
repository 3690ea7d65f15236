"""BLEU-1 to BLEU-4 of captions as pycocoevalcap computes it.

BLEU (Papineni et al. 2002) is not smoothed, and its brevity penalty uses the closest reference
length. The n-grams are counted once for BLEU and CIDEr (`ngrams.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.ngrams import (
    HIGHEST,
    SHARD,
    Captions,
    Ngrams,
    count_ngrams,
    read_captions,
)

# pycocoevalcap adds these to avoid a division by zero. They change the last digits, so they are
# kept.
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class BleuStatistics:
    """Counts for each caption; corpus BLEU is a function of their sums.

    Shapes: C captions, N n-gram lengths (column n - 1 is of n).
    """

    # N-grams of the caption that occur in a reference, each counted at most as often as it occurs
    # in any one reference.
    matches_CN: np.ndarray
    totals_CN: np.ndarray  # n-grams of the caption
    length_C: np.ndarray  # words of the caption
    closest_C: np.ndarray  # words of the reference closest in length; of two, the shorter one

    def pooled(self) -> list[float]:
        """Return BLEU-1..4 of all captions together, 0..1."""
        sums_1K = self.table().sum(0)[None]
        return [float(bleu_of_sums(sums_1K, n)[0]) for n in range(1, HIGHEST + 1)]

    def by_caption(self) -> list[list[float]]:
        """Return BLEU-1..4 of each caption alone: for every n a list of C scores, 0..1."""
        table = self.table()
        return [bleu_of_sums(table, n).tolist() for n in range(1, HIGHEST + 1)]

    def every(self, step: int, first: int) -> "BleuStatistics":
        """Return the statistics of the captions first, first + step, first + 2 * step, ..."""
        return BleuStatistics(*(counts[first::step] for counts in self._arrays()))

    @staticmethod
    def joined(parts: Sequence["BleuStatistics"]) -> "BleuStatistics":
        """Return the statistics of the captions of several parts, in their order."""
        columns = zip(*(part._arrays() for part in parts), strict=True)
        return BleuStatistics(*(np.concatenate(of_parts) for of_parts in columns))

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.matches_CN, self.totals_CN, self.length_C, self.closest_C

    def table(self) -> np.ndarray:
        """Return the counts of each caption as a row of floats (C, 10).

        A row has four matches, four totals, the length and the closest reference length.
        """
        columns = [self.matches_CN, self.totals_CN, self.length_C[:, None], self.closest_C[:, None]]
        return np.concatenate(columns, axis=1).astype(np.float64)


def bleu_of_sums(sums_XK: np.ndarray, n: int) -> np.ndarray:
    """Return corpus BLEU-n, with pycocoevalcap's order of operations.

    Args:
        sums_XK: X sums of rows of `BleuStatistics.table`.
        n: The longest n-grams that are counted, 1..4.

    Returns:
        X scores, 0..1.
    """
    matches_XN, totals_XN = sums_XK[:, :n], sums_XK[:, HIGHEST : HIGHEST + n]
    length_X, closest_X = sums_XK[:, -2], sums_XK[:, -1]
    product_X = np.prod((matches_XN + _TINY) / (totals_XN + _SMALL), axis=1)
    score_X = exact.power(product_X, 1 / n) if n > 1 else product_X
    ratio_X = (length_X + _TINY) / (closest_X + _SMALL)
    return score_X * exact.exp(np.minimum(0.0, 1 - 1 / ratio_X))


class BleuCounter:
    """Collector of the statistics of every candidate.

    Args:
        captions: The references and candidates; then `add` has to be called with each result of
            `count_ngrams(captions)`, in order.
    """

    def __init__(self, captions: Captions):
        self._captions = captions
        self._matches: list[np.ndarray] = []

    def add(self, ngrams: Ngrams) -> None:
        """Count the matches of the n-grams of one length."""
        captions = self._captions
        terms = np.flatnonzero(ngrams.caption_T >= captions.references)
        found, group = ngrams.groups(terms, captions.image_C[ngrams.caption_T[terms]])
        terms = terms[found]
        most_M = np.maximum.reduceat(
            ngrams.count_T[ngrams.terms_of_references_S], ngrams.group_start_M[:-1]
        )
        clipped = np.minimum(ngrams.count_T[terms], most_M[group])
        candidate = ngrams.caption_T[terms] - captions.references
        self._matches.append(
            _sums(candidate, clipped, len(captions.lengths_C) - captions.references)
        )

    def statistics(self) -> BleuStatistics:
        """Return the statistics of the candidates, in their order."""
        captions = self._captions
        length_C = captions.lengths_C[captions.references :]
        image_C = captions.image_C[captions.references :]
        return BleuStatistics(
            np.stack(self._matches, 1),
            _totals(length_C),
            length_C,
            _closest(captions, length_C, image_C),
        )


def bleu_statistics(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> BleuStatistics:
    """Return the statistics of one caption per image.

    Args:
        references: Tokenised references of each image.
        candidates: One tokenised caption of each image.

    Raises:
        UserError: The numbers of images differ, or an image has no reference.
    """
    if len(references) != len(candidates):
        raise UserError(
            f"{len(candidates)} captions for the references of {len(references)} images; give one"
            " caption per image"
        )
    captions = read_captions(references, candidates, range(len(candidates)))
    counter = BleuCounter(captions)
    for ngrams in count_ngrams(captions):
        counter.add(ngrams)
    return counter.statistics()


def bleu_statistics_within(samples: Sequence[Sequence[str]]) -> BleuStatistics:
    """Return the statistics of every caption against the other captions of its image, for mBLEU.

    The count of an n-gram is clipped to the highest count in any other caption of the image. That
    is the highest count in the image or, if only this caption has it, the second highest, so the
    time is linear in the number of captions.

    Args:
        samples: Tokenised captions of each image.

    Returns:
        The statistics of all captions, image by image.

    Raises:
        UserError: An image has fewer than two captions.
    """
    for image, of_image in enumerate(samples):
        if len(of_image) < 2:
            raise UserError(
                f"image number {image} (from 0) has too few captions ({len(of_image)}); mBLEU"
                " compares two or more"
            )
    return BleuStatistics.joined(
        [_within(samples[start : start + SHARD]) for start in range(0, len(samples), SHARD)]
    )


def _within(samples: Sequence[Sequence[str]]) -> BleuStatistics:
    captions = read_captions(samples, [], [])
    matches = [
        _sums(ngrams.caption_T, _clipped_by_others(ngrams), captions.references)
        for ngrams in count_ngrams(captions)
    ]
    length_C = captions.lengths_C
    closest = (
        _closest_other(lengths) for lengths in np.split(length_C, captions.reference_start_I[1:-1])
    )
    return BleuStatistics(
        np.stack(matches, 1),
        _totals(length_C),
        length_C,
        np.concatenate([*closest, np.zeros(0, np.int64)]),
    )


def _clipped_by_others(ngrams: Ngrams) -> np.ndarray:
    if not len(ngrams.count_T):
        return ngrams.count_T
    start_M, size_M = ngrams.group_start_M[:-1], np.diff(ngrams.group_start_M)
    most_T = np.repeat(np.maximum.reduceat(ngrams.count_T, start_M), size_M)
    has_most_T = ngrams.count_T == most_T
    is_alone_T = (
        np.repeat(np.add.reduceat(has_most_T.astype(np.int64), start_M) == 1, size_M) & has_most_T
    )
    second_T = np.repeat(
        np.maximum.reduceat(np.where(has_most_T, 0, ngrams.count_T), start_M), size_M
    )
    return np.where(is_alone_T, second_T, ngrams.count_T)


def _sums(caption: np.ndarray, values: np.ndarray, captions: int) -> np.ndarray:
    # Sums of small counts are exact in floats.
    return np.bincount(caption, values, captions).astype(np.int64)


def _totals(length_C: np.ndarray) -> np.ndarray:
    return np.stack([np.maximum(0, length_C - n) for n in range(HIGHEST)], 1)


def _closest(captions: Captions, length_C: np.ndarray, image_C: np.ndarray) -> np.ndarray:
    if not len(length_C):
        return length_C
    start_I = captions.reference_start_I
    size_C = np.diff(start_I)[image_C]
    start_C = np.cumsum(size_C) - size_C
    reference_P = np.arange(size_C.sum()) + np.repeat(start_I[image_C] - start_C, size_C)
    length_P = captions.lengths_C[reference_P]
    scale = int(captions.lengths_C.max()) + 1  # (distance, length) as one number
    return (
        np.minimum.reduceat(
            np.abs(length_P - np.repeat(length_C, size_C)) * scale + length_P, start_C
        )
        % scale
    )


def _closest_other(lengths_K: np.ndarray) -> np.ndarray:
    scale = int(lengths_K.max()) + 1
    nearness_KK = np.abs(lengths_K[None] - lengths_K[:, None]) * scale + lengths_K[None]
    np.fill_diagonal(nearness_KK, np.iinfo(np.int64).max)
    return nearness_KK.min(1) % scale
