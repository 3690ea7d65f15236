"""BLEU, METEOR, ROUGE-L and CIDEr-D of the COCO caption evaluation: pycocoevalcap's own code, guarded where it fails silently."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from dsacap.errors import UserError
from dsacap.scoring.java import java_environment
from dsacap.scoring.results import MetricResult

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


def score_cider(references: References, candidates: Candidates) -> MetricResult:
    """CIDEr alone, the same number as in `score_captions`, without starting Java."""
    _check(references, candidates)
    return _result(references, *Cider().compute_score(references, _as_lists(candidates)))


def _score(references: References, candidates: Candidates, meteor: Meteor) -> dict[str, MetricResult]:
    pair = references, _as_lists(candidates)
    scores = [
        *zip(*Bleu(4).compute_score(*pair, verbose=0), strict=True),
        Rouge().compute_score(*pair),
        Cider().compute_score(*pair),
    ]
    scores.insert(4, _ask(meteor, *pair))  # asked last: its tables load while Python counts n-grams
    return {name: _result(references, *score) for name, score in zip(METRICS, scores, strict=True)}


def _as_lists(candidates: Candidates) -> dict[int, list[str]]:
    """The candidates as pycocoevalcap takes them; it scores in the references' order."""
    return {image_id: [caption] for image_id, caption in candidates.items()}


def _result(references: References, corpus: float, per_image: Iterable[float]) -> MetricResult:
    return MetricResult(float(corpus), dict(zip(references, map(float, per_image), strict=True)))


@contextlib.contextmanager
def _meteor() -> Iterator[Meteor]:
    with java_environment():
        meteor = Meteor()
    try:
        yield meteor
    finally:
        meteor.lock = threading.Lock()  # an error leaves the old one taken, and Meteor.__del__ would wait for it for ever
        meteor.meteor_p.kill()
        meteor.meteor_p.communicate()


def _ask(meteor: Meteor, references: References, candidates: dict[int, list[str]]) -> tuple[float, list[float]]:
    try:
        return meteor.compute_score(references, candidates)
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
