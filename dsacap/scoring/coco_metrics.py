"""BLEU, METEOR, ROUGE-L and CIDEr-D of the COCO caption evaluation, guarded where pycocoevalcap fails silently.

METEOR is pycocoevalcap's Java; the others are computed here (`ngrams.py` and what stands on it) to the same last bit, faster.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from pycocoevalcap.meteor.meteor import Meteor

from dsacap.errors import UserError
from dsacap.scoring.bleu import BleuCounter, BleuStatistics, bleu_of_sums
from dsacap.scoring.cider import CiderScorer, own_idf
from dsacap.scoring.java import java_environment
from dsacap.scoring.meteor import meteor_counts, meteor_of_sums
from dsacap.scoring.ngrams import Captions, count_ngrams, read_captions
from dsacap.scoring.results import MetricResult, Pooled
from dsacap.scoring.rouge import rouge_l

References = Mapping[int, list[str]]  # image id -> tokenised references
Candidates = Mapping[int, str]  # image id -> one tokenised caption

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def score_captions(references: References, candidates: Candidates) -> dict[str, MetricResult]:
    """Scores one tokenised caption an image against its tokenised references, both by image id; returns every metric of METRICS.

    Scores are pycocoevalcap's to the last bit: CIDEr (its CIDEr-D) in 0..10, the others in 0..1. Corpus BLEU and METEOR are not
    the means of their per-image scores. Raises UserError where the ids differ, an image has no reference, there are fewer than
    two images, or METEOR's Java fails.
    """
    return score_many([(references, candidates)])[0]


def score_many(pairs: Sequence[tuple[References, Candidates]]) -> list[dict[str, MetricResult]]:
    """`score_captions` of several pairs of references and candidates, in their order; METEOR's tables (5 to 10 seconds) are loaded
    once for all."""
    for pair in pairs:
        _check(*pair)
    if not pairs:
        return []
    with _meteor() as meteor:
        return [_score(*pair, meteor) for pair in pairs]


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
        "ROUGE-L": _mean(references, [rouge_l(said, candidates[image_id]) for image_id, said in references.items()]),
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


def _score(references: References, candidates: Candidates, meteor: Meteor) -> dict[str, MetricResult]:
    scores = score_without_java(references, candidates)
    scores["METEOR"] = _ask(meteor, references, candidates)  # asked last: its tables load while Python counts n-grams
    return {metric: scores[metric] for metric in METRICS}


def _bleu(references: References, statistics: BleuStatistics) -> dict[str, MetricResult]:
    table = statistics.table()
    scores = enumerate(zip(statistics.pooled(), statistics.by_caption(), strict=True), 1)
    return {f"BLEU-{n}": _result(references, *of_n, Pooled(table, partial(bleu_of_sums, n=n))) for n, of_n in scores}


def _read(references: References, candidates: Candidates) -> Captions:
    return read_captions(list(references.values()), [candidates[image_id] for image_id in references], range(len(references)))


def _mean(references: References, per_image: Sequence[float]) -> MetricResult:
    return _result(references, np.mean(per_image), per_image)


def _result(references: References, corpus: float, per_image: Iterable[float], pooled: Pooled | None = None) -> MetricResult:
    return MetricResult(float(corpus), dict(zip(references, map(float, per_image), strict=True)), pooled)


@contextlib.contextmanager
def _meteor() -> Iterator[Meteor]:
    with java_environment():
        meteor = Meteor()
    try:
        yield meteor
    finally:
        meteor.meteor_p.kill()
        meteor.meteor_p.communicate()


def _ask(meteor: Meteor, references: References, candidates: Candidates) -> MetricResult:
    """`Meteor.compute_score`, step by step, for it keeps the alignments' counts to itself."""
    try:
        lines = [meteor._stat(candidates[image_id], said) for image_id, said in references.items()]
        meteor.meteor_p.stdin.write(" ||| ".join(["EVAL", *lines]).encode() + b"\n")
        meteor.meteor_p.stdin.flush()
        *per_image, corpus = (float(meteor.meteor_p.stdout.readline()) for _ in range(len(lines) + 1))
        return _result(references, corpus, per_image, Pooled(meteor_counts(lines), meteor_of_sums))
    except (ValueError, OSError) as error:  # an empty answer is not a number; writing to an ended process breaks the pipe
        meteor.meteor_p.kill()
        reason = meteor.meteor_p.stderr.read().decode(errors="replace").strip()
        raise UserError(
            f"METEOR's Java process stopped ({error}): {reason}\nIt needs 2 GB of memory and an installation path without spaces."
        ) from error


def _check(references: References, candidates: Candidates) -> None:
    missing, unknown = (sorted(a.keys() - b.keys()) for a, b in ((references, candidates), (candidates, references)))
    if missing or unknown:
        raise UserError(
            f"captions and references must be of the same images: {len(missing)} of {len(references)} images have no caption"
            f"{_examples(missing)}, {len(unknown)} of {len(candidates)} captions have no references{_examples(unknown)}"
        )
    if len(references) < 2:
        raise UserError(f"{len(references)} image: CIDEr needs two or more, since it weighs a word by its share of the images; add images")
    for image_id, captions in references.items():
        if isinstance(captions, str) or not any(captions):
            raise UserError(f"image {image_id}: needs a list of one or more references, has {captions!r}")
        if not isinstance(candidates[image_id], str):
            raise UserError(f"image {image_id}: needs one caption, a string, has {candidates[image_id]!r}")
        for caption in (*captions, candidates[image_id]):
            if "\n" in caption or "\r" in caption:  # METEOR would answer for the wrong image
                raise UserError(f"image {image_id}: line break in {caption!r}; tokenise captions before scoring")


def _examples(image_ids: list[int]) -> str:
    return f" (first: {', '.join(map(str, image_ids[:3]))})" if image_ids else ""
