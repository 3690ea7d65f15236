"""Scores of captions for callers in Python: `dsacap.score`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dsacap.common.errors import UserError
from dsacap.evaluation.inputs import Given, Reading, load_inputs
from dsacap.evaluation.results import Scores, scores_of
from dsacap.scoring.metrics.coco_metrics import METRICS, score_captions, score_without_java
from dsacap.scoring.score import Spice, plain_scores, score_tokenised, tokenise
from dsacap.scoring.signature import GIVEN, scored_against

_WITHOUT_JAVA = {"BLEU", "ROUGE-L", "CIDEr", *METRICS} - {"METEOR"}
_WITHOUT_SPICE = {*_WITHOUT_JAVA, "METEOR"}


def score(
    predictions: Given,
    references: Given | Sequence[Given],
    *,
    metrics: Collection[str] | None = None,
    spice: Spice = "auto",
    how: Reading | None = None,
) -> Scores:
    """Score captions; see `dsacap.score`."""
    how = how or Reading()
    wanted = {metrics} if isinstance(metrics, str) else set(metrics or ())
    inputs = load_inputs(predictions, references, how)
    tokens = inputs.references if how.tokenized else tokenise(inputs.references)
    scored = scored_against(tokens, GIVEN if how.tokenized else None)
    captions = tokenise(inputs.captions)
    one_each = len(next(iter(captions.values()))) == 1
    if wanted and wanted <= _WITHOUT_SPICE and one_each:
        firsts = {image: texts[0] for image, texts in captions.items()}
        compute = score_without_java if wanted <= _WITHOUT_JAVA else score_captions
        plain = plain_scores(compute(tokens, firsts), scored)
    else:
        if wanted and not any(_is_of(name, "SPICE") for name in wanted):
            spice = "off"
        parts = score_tokenised(
            tokens, {"": captions}, set(), None, scored, spice=spice, with_held_out=False
        )[""]
        parts["diversity"].pop("novel", None)  # without train captions, all are novel
        plain = flat(parts)
    if wanted:
        plain = _chosen(plain, wanted)
    return scores_of(plain, inputs.images, inputs.notes)


def _chosen(plain: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The metrics that are wanted: by their name, or "BLEU" for all its orders."""
    for name in wanted:
        if not any(_is_of(metric, name) for metric in plain):
            raise UserError(f"metrics: {name!r} is not among {', '.join(plain)}")
    return {metric: one for metric, one in plain.items() if any(_is_of(metric, w) for w in wanted)}


def _is_of(metric: str, name: str) -> bool:
    return metric == name or metric.startswith(f"{name}-")


def flat(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of one decoding by metric, given by part as `score_tokenised` does."""
    best = {f"best-of-{parts['samples']} {name}": one for name, one in parts["oracle"].items()}
    return parts["quality"] | parts["diversity"] | best
