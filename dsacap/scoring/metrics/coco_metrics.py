"""BLEU, METEOR, ROUGE-L and CIDEr-D of the COCO caption evaluation, guarded where pycocoevalcap fails silently.

METEOR is the official Java (`meteor_java.py`); the others are computed here (`ngrams.py` and what stands on it), faster, and rounded alike
on every processor (`exact.py`), which pycocoevalcap's are not: its BLEU and CIDEr-D may differ from ours by a few units in the last place.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.java.jvm import JvmWorker
from dsacap.scoring.metrics.bleu import BleuCounter, BleuStatistics, bleu_of_sums
from dsacap.scoring.metrics.cider import CiderScorer, own_idf
from dsacap.scoring.metrics.meteor_java import Candidates, References, score_meteors
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled
from dsacap.scoring.metrics.ngrams import Captions, count_ngrams, read_captions
from dsacap.scoring.metrics.rouge import rouge_l

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def score_captions(
    references: References, candidates: Candidates, worker: JvmWorker | None = None
) -> dict[str, MetricResult]:
    """Scores one tokenised caption an image against its tokenised references, both by image id; returns every metric of METRICS.

    Scores are pycocoevalcap's, but for its rounding: CIDEr (its CIDEr-D) in 0..10, the others in 0..1. Corpus BLEU and METEOR are not
    the means of their per-image scores. Raises UserError where the ids differ, an image has no reference, there are fewer than
    two images, or METEOR's Java, which `worker` runs, fails.
    """
    return score_many([(references, candidates)], worker)[0]


def score_many(
    pairs: Sequence[tuple[References, Candidates]], worker: JvmWorker | None = None
) -> list[dict[str, MetricResult]]:
    """`score_captions` of several pairs of references and candidates, in their order: faster than one by one where they share images."""
    for pair in pairs:
        _check(*pair)
    if not pairs:
        return []
    with ThreadPoolExecutor(1) as thread:
        without_java = thread.submit(lambda: [score_without_java(*pair) for pair in pairs])
        meteor = score_meteors(pairs, worker)
    scores = [
        {**others, "METEOR": of_pair}
        for others, of_pair in zip(without_java.result(), meteor, strict=True)
    ]
    return [{metric: of_pair[metric] for metric in METRICS} for of_pair in scores]


def score_without_java(references: References, candidates: Candidates) -> dict[str, MetricResult]:
    """All of METRICS but METEOR, the same numbers as in `score_captions`: 5,000 images in a third of a second."""
    _check(references, candidates)
    captions = _read(references, candidates)
    bleu, cider = BleuCounter(captions), CiderScorer(captions, own_idf(captions))
    for ngrams in count_ngrams(captions):
        bleu.add(ngrams)
        cider.add(ngrams)
    return {
        **_bleu(references, bleu.statistics()),
        "ROUGE-L": _mean(
            references,
            [rouge_l(said, candidates[image_id]) for image_id, said in references.items()],
        ),
        "CIDEr": _mean(references, cider.scores()),
    }


def score_cider(references: References, candidates: Candidates) -> MetricResult:
    """CIDEr alone, the same number as in `score_captions`, for training."""
    _check(references, candidates)
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


def _mean(references: References, per_image: Sequence[float]) -> MetricResult:
    return _result(references, np.mean(per_image), per_image)


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
            f"captions and references must be of the same images: {len(missing)} of {len(references)} images have no caption"
            f"{_examples(missing)}, {len(unknown)} of {len(candidates)} captions have no references{_examples(unknown)}"
        )
    if len(references) < 2:
        raise UserError(
            f"{len(references)} image: CIDEr needs two or more, since it weighs a word by its share of the images; add images"
        )
    for image_id, captions in references.items():
        if isinstance(captions, str) or not any(captions):
            raise UserError(
                f"image {image_id}: needs a list of one or more references, has {captions!r}"
            )
        if not isinstance(candidates[image_id], str):
            raise UserError(
                f"image {image_id}: needs one caption, a string, has {candidates[image_id]!r}"
            )
        for caption in (*captions, candidates[image_id]):
            if "\n" in caption or "\r" in caption:  # METEOR would answer for the wrong image
                raise UserError(
                    f"image {image_id}: line break in {caption!r}; tokenise captions before scoring"
                )


def _examples(image_ids: list[int]) -> str:
    return f" (first: {', '.join(map(str, image_ids[:3]))})" if image_ids else ""
