"""BLEU, METEOR, ROUGE-L and CIDEr-D as in the COCO caption evaluation.

Inputs on which pycocoevalcap fails silently are errors. METEOR is the official Java
(`meteor_java.py`). The others are computed here on the n-grams of `ngrams.py`, which is faster, and
rounded in the same way on every processor (`exact.py`). Those of pycocoevalcap are not: its BLEU
and CIDEr-D may differ from ours by a few units in the last place.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.java.jvm import JvmWorker
from dsacap.scoring.metrics.bleu import BleuCounter, BleuStatistics, bleu_of_sums
from dsacap.scoring.metrics.cider import CiderScorer
from dsacap.scoring.metrics.document_frequencies import (
    DocumentFrequencies,
    Lookup,
    document_frequencies,
    own_idf,
)
from dsacap.scoring.metrics.meteor_java import Candidates, References, score_meteors
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled
from dsacap.scoring.metrics.ngrams import SHARD, Captions, count_ngrams, read_captions
from dsacap.scoring.metrics.rouge import rouge_l

# Why one image has no CIDEr.
NO_CIDER = (
    "CIDEr: not computed, because there is one image only: CIDEr weights a word by the share of"
    " images that lack it, and no image lacks the words of a single one.\n"
    "  Give the document frequencies of other captions: --document-frequencies coco-val2014 (in"
    ' Python document_frequencies="coco-val2014")'
)
METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def score_captions(
    references: References,
    candidates: Candidates,
    worker: JvmWorker | None = None,
    frequencies: DocumentFrequencies | None = None,
) -> dict[str, MetricResult]:
    """Score one caption per image against the references of the image.

    Args:
        references: Tokenised references by image id.
        candidates: One tokenised caption by image id.
        worker: The process that runs METEOR's Java; by default a shared one.
        frequencies: CIDEr's document frequencies; by default those of the references.

    Returns:
        Every metric of `METRICS`, equal to those of pycocoevalcap apart from its rounding. "CIDEr"
        is CIDEr-D, 0..10; the others are in 0..1. Corpus BLEU and METEOR are not the means of
        their per-image scores. CIDEr is left out if there is one image and no `frequencies`.

    Raises:
        UserError: The image ids differ, an image has no reference, there is no image, or Java
            fails.
    """
    return score_many([(references, candidates)], worker, frequencies)[0]


def score_many(
    pairs: Sequence[tuple[References, Candidates]],
    worker: JvmWorker | None = None,
    frequencies: DocumentFrequencies | None = None,
    meteor: bool = True,
) -> list[dict[str, MetricResult]]:
    """Score several pairs of references and candidates as `score_captions` does, in their order.

    It is faster than scoring them one by one if they have images in common. Without `meteor`, there
    is no METEOR, and no Java runs.
    """
    for pair in pairs:
        _check(*pair)
    if not pairs:
        return []
    if not meteor:
        return [score_without_java(*pair, frequencies) for pair in pairs]
    with ThreadPoolExecutor(1) as thread:
        without_java = thread.submit(
            lambda: [score_without_java(*pair, frequencies) for pair in pairs]
        )
        meteors = score_meteors(pairs, worker)
    scores = [
        {**others, "METEOR": of_pair}
        for others, of_pair in zip(without_java.result(), meteors, strict=True)
    ]
    return [
        {metric: of_pair[metric] for metric in METRICS if metric in of_pair} for of_pair in scores
    ]


def score_without_java(
    references: References,
    candidates: Candidates,
    frequencies: DocumentFrequencies | None = None,
) -> dict[str, MetricResult]:
    """Return all metrics but METEOR, equal to those of `score_captions`.

    5,000 images take a third of a second. Arguments and errors are those of `score_captions`.
    """
    _check(references, candidates)
    images = list(references)
    shards = [
        {image: references[image] for image in images[start : start + SHARD]}
        for start in range(0, len(images), SHARD)
    ]
    if frequencies is None and len(shards) > 1:
        frequencies = document_frequencies(references.values())
    parts = [_count(shard, candidates, frequencies) for shard in shards]
    statistics, cider, rouge = (list(of_part) for of_part in zip(*parts, strict=True))
    scores = {
        **_bleu(references, BleuStatistics.joined(statistics)),
        "ROUGE-L": _mean(references, np.concatenate(rouge)),
        "CIDEr": _mean(references, np.concatenate(cider)),
    }
    if frequencies is None and len(references) == 1:
        del scores["CIDEr"]
    return scores


def _count(
    references: References, candidates: Candidates, frequencies: DocumentFrequencies | None
) -> tuple[BleuStatistics, np.ndarray, list[float]]:
    """Return the statistics of BLEU, the CIDEr-D and the ROUGE-L of the images of `references`."""
    captions = _read(references, candidates)
    idf = Lookup(frequencies, captions) if frequencies else own_idf(captions)
    bleu, cider = BleuCounter(captions), CiderScorer(captions, idf)
    for ngrams in count_ngrams(captions):
        bleu.add(ngrams)
        cider.add(ngrams)
    rouge = [rouge_l(of_image, candidates[image]) for image, of_image in references.items()]
    return bleu.statistics(), cider.scores(), rouge


def score_cider(references: References, candidates: Candidates) -> MetricResult:
    """Return CIDEr alone, equal to that of `score_captions`, for training.

    Arguments and errors are those of `score_captions`; a single image is an error too.
    """
    _check(references, candidates)
    if len(references) == 1:
        raise UserError(
            "1 image: CIDEr needs two or more, because it weights a word by the share of images"
            " that have it; add images"
        )
    captions = _read(references, candidates)
    cider = CiderScorer(captions, own_idf(captions))
    for ngrams in count_ngrams(captions):
        cider.add(ngrams)
    return _mean(references, cider.scores())


def _bleu(references: References, statistics: BleuStatistics) -> dict[str, MetricResult]:
    table = statistics.table()
    scores = enumerate(zip(statistics.pooled(), statistics.by_caption(), strict=True), 1)
    return {
        f"BLEU-{n}": _result(references, *of_n, Pooled(table, partial(bleu_of_sums, n=n)))
        for n, of_n in scores
    }


def _read(references: References, candidates: Candidates) -> Captions:
    return read_captions(
        list(references.values()),
        [candidates[image_id] for image_id in references],
        range(len(references)),
    )


def _mean(references: References, per_image: Sequence[float] | np.ndarray) -> MetricResult:
    return _result(references, float(np.mean(per_image)), per_image)


def _result(
    references: References, corpus: float, per_image: Iterable[float], pooled: Pooled | None = None
) -> MetricResult:
    return MetricResult(
        float(corpus), dict(zip(references, map(float, per_image), strict=True)), pooled
    )


def _check(references: References, candidates: Candidates) -> None:
    missing, unknown = (
        sorted(a.keys() - b.keys()) for a, b in ((references, candidates), (candidates, references))
    )
    if missing or unknown:
        raise UserError(
            "captions and references must be of the same images:"
            f" {len(missing)} of {len(references)} images have no caption{_examples(missing)},"
            f" {len(unknown)} of {len(candidates)} captions have no references{_examples(unknown)}"
        )
    if not references:
        raise UserError("no images to score; give captions and references of one or more")
    for image_id, captions in references.items():
        if isinstance(captions, str) or not any(captions):
            raise UserError(
                f"image {image_id}: its references must be a list with one or more captions, not"
                f" {captions!r}"
            )
        if not isinstance(candidates[image_id], str):
            raise UserError(
                f"image {image_id}: its caption must be one string, not {candidates[image_id]!r}"
            )
        for caption in (*captions, candidates[image_id]):
            # Each line is a request to METEOR, so its answers would be assigned to wrong images.
            if "\n" in caption or "\r" in caption:
                raise UserError(
                    f"image {image_id}: line break in {caption!r}; tokenise captions before scoring"
                )


def _examples(image_ids: list[int]) -> str:
    return f" (first: {', '.join(map(str, image_ids[:3]))})" if image_ids else ""
