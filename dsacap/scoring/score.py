"""All scores of a system's decodings, corpus-wide and per image, with signatures, as plain data.

Quality is that of one caption per image, the first if several were drawn. Diversity and the oracle
are computed from all captions of an image.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any, Literal

from dsacap.common.errors import UserError
from dsacap.data.scenes.grammar import Scene
from dsacap.scoring.frequencies import Frequencies
from dsacap.scoring.java.corenlp import CoreNlpMissing
from dsacap.scoring.metrics.coco_metrics import METRICS, NO_CIDER, score_many
from dsacap.scoring.metrics.diversity import diversity, oracle
from dsacap.scoring.metrics.document_frequencies import document_frequencies
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.scoring.metrics.scene_truth import score_truth
from dsacap.scoring.metrics.spice import METRICS as SPICE_METRICS
from dsacap.scoring.metrics.spice import CaptionTooLong, all_spice, score_spice
from dsacap.scoring.metrics.spider import spider
from dsacap.scoring.metrics.train_overlap import count_leaks
from dsacap.scoring.signature import Scored, scored_against, signature
from dsacap.scoring.statistics import interval_of
from dsacap.text.ptb_tokenizer import ptb_tokenize

Captions = Mapping[int, list[str]]  # image id -> captions
PERCENT = {*METRICS, *SPICE_METRICS, "AllSPICE", "SPIDEr"}  # metrics that papers print x100
# auto: SPICE is computed if CoreNLP is available and no caption is too long for it; otherwise its
# score is null, with the reason.
Spice = Literal["auto", "required", "off"]
_NO_SELF_CIDER = "Self-CIDEr: not computed, for the same reason as CIDEr."
_NO_SPIDER = "SPIDEr: not computed, because it is the mean of SPICE and CIDEr."


def score_decodings(
    references: Captions,
    captions: Mapping[str, Captions],
    train_captions: set[str],
    scenes: Mapping[int, Scene] | None,
    scored: Scored | None = None,
    *,
    spice: Spice = "off",
    without_spice: Collection[str] = (),
    with_held_out: bool = True,
    with_spider: bool = False,
    frequencies: Frequencies | None = None,
) -> dict:
    """Tokenise raw captions, decoding -> image id -> captions, and score them.

    The other arguments, the result and the errors are those of `score_tokenised`. References are
    tokenised already.
    """
    tokenised = {name: tokenise(by_image) for name, by_image in captions.items()}
    return score_tokenised(
        references,
        tokenised,
        train_captions,
        scenes,
        scored,
        spice=spice,
        without_spice=without_spice,
        with_held_out=with_held_out,
        with_spider=with_spider,
        frequencies=frequencies,
    )


def score_tokenised(
    references: Captions,
    tokenised: Mapping[str, Captions],
    train_captions: set[str],
    scenes: Mapping[int, Scene] | None,
    scored: Scored | None = None,
    *,
    spice: Spice = "off",
    without_spice: Collection[str] = (),
    with_held_out: bool = True,
    with_spider: bool = False,
    with_meteor: bool = True,
    frequencies: Frequencies | None = None,
) -> dict:
    """Score tokenised captions of several decodings against tokenised references.

    Args:
        references: Tokenised references by image id.
        tokenised: Decoding -> image id -> k tokenised captions; k is the same for all images.
        train_captions: Tokenised captions of the train split, for `novel` and `leaks`.
        scenes: Generated scenes by image id; None for photographs, for which truth is undefined.
        scored: The description of the references in signatures; by default derived from them.
        spice: Whether SPICE is computed.
        without_spice: The decodings for which it is not.
        with_held_out: Whether `held_out` is computed.
        with_spider: Whether SPIDEr is computed, unless SPICE is off. The benchmark's tables do not
            have it.
        with_meteor: Whether METEOR is computed.
        frequencies: The document frequencies of CIDEr and Self-CIDEr; by default those of the
            references.

    Returns:
        Decoding -> {"quality", "held_out", "oracle", "diversity": {metric: score}, "leaks",
        "samples": k}. A score is {"value", "interval" (95 % bootstrap over images) or null, "n",
        "per_image", "signature"}. SPICE that cannot be computed has the value null and a "reason";
        so do CIDEr and Self-CIDEr of one image without `frequencies`, and SPIDEr without one of the
        two. `held_out` is quality against all references but one, the same task as for a human
        caption, averaged over which reference is left out. `oracle` (the best of k, without SPICE)
        and `diversity` are empty if k is 1.

    Raises:
        CoreNlpMissing: SPICE is required, and CoreNLP is not available.
        CaptionTooLong: SPICE is required, and a caption or reference is too long for it.
        UserError: The images differ, or a metric cannot be computed on the captions.
    """
    scored = scored or scored_against(references)
    given = frequencies.table if frequencies else None
    if frequencies:
        scored = replace(scored, frequencies=frequencies.name)
    fewer = [others for _, others in held_out(references)] if with_held_out else []
    result = {}
    for name, by_image in tokenised.items():
        slots = _slots(by_image)
        rounds = [(others, slots[0]) for others in fewer]
        scores = score_many(
            [*((references, slot) for slot in slots), *rounds],
            frequencies=given,
            meteor=with_meteor,
        )
        wanted = "off" if name in without_spice else spice
        spices, no_spice = _spice_of([(references, slots[0]), *rounds], wanted)
        quality = scores[0] | spices[0] | (score_truth(slots[0], scenes) if scenes else {})
        no_cider = None if "CIDEr" in quality else NO_CIDER
        no_spider = None
        if with_spider and {"SPICE", "CIDEr"} <= quality.keys():
            quality["SPIDEr"] = spider(quality["SPICE"], quality["CIDEr"])
        elif with_spider and wanted != "off":
            no_spider = _NO_SPIDER
        several, varied = len(slots) > 1, {}
        if several:
            own = None if given or no_cider else document_frequencies(references.values())
            varied = diversity(by_image, train_captions, given or own)
        left_out = mean_over(
            [s | _f_alone(f) for s, f in zip(scores[len(slots) :], spices[1:], strict=True)]
        )
        result[name] = {
            "quality": plain_scores(quality, scored)
            | missing_score("CIDEr", no_cider, scored)
            | missing_score("SPICE", no_spice, scored)
            | missing_score("SPIDEr", no_spider, scored),
            "held_out": plain_scores(left_out, scored, refs_of="all but one"),
            "oracle": plain_scores(oracle(scores[: len(slots)]), scored, best_of=len(slots))
            if several
            else {},
            "diversity": plain_scores(varied, scored, k=len(slots))
            | missing_score("Self-CIDEr", _NO_SELF_CIDER if several and no_cider else None, scored),
            "leaks": asdict(count_leaks(by_image, train_captions)),
            "samples": len(slots),
        }
    return result


def score_humans(
    references: Captions,
    train_captions: set[str],
    scenes: Mapping[int, Scene] | None,
    spice: Spice = "off",
) -> dict:
    """Score the references themselves as captions.

    For quality, each reference in turn is scored against the others, and the scores are averaged.
    Diversity is that of all references that every image has.

    Args:
        references: Tokenised references by image id.
        train_captions: Tokenised captions of the train split.
        scenes: Generated scenes by image id; None for photographs.
        spice: Whether SPICE is computed.

    Returns:
        The same as `score_tokenised`, for one decoding named "references", whose "quality" and
        "oracle" are empty.

    Raises:
        CoreNlpMissing: SPICE is required, and CoreNLP is not available.
        UserError: Some image has fewer than two references.
    """
    scored, rounds = scored_against(references), held_out(references)
    if not rounds:
        raise UserError(
            "human captions can only be scored if every image has two references or more;"
            " some image has fewer"
        )
    pairs = [(others, candidates) for candidates, others in rounds]
    spices, _ = _spice_of(pairs, spice)
    scores = [s | _f_alone(f) for s, f in zip(score_many(pairs), spices, strict=True)]
    if scenes:
        scores = [
            s | score_truth(candidates, scenes)
            for s, (candidates, _) in zip(scores, rounds, strict=True)
        ]
    as_samples = {i: captions[: len(rounds)] for i, captions in references.items()}
    varied = diversity(as_samples, train_captions, document_frequencies(references.values()))
    human = {
        "quality": {},
        "held_out": plain_scores(mean_over(scores), scored, refs_of="all but one"),
        "oracle": {},
        "diversity": plain_scores(varied, scored, k=len(rounds)),
        "leaks": asdict(count_leaks(references, train_captions)),
        "samples": len(rounds),
    }
    return {"references": human}


def score_samples(references: Captions, by_image: Captions, scored: Scored) -> dict:
    """Score k captions per image by AllSPICE and by the best SPICE among them.

    These scores are costly, because every caption has to be parsed.

    Args:
        references: Tokenised references by image id.
        by_image: Tokenised captions by image id, k >= 2 for each image.
        scored: The description of the references in signatures.

    Returns:
        The parts "diversity", "oracle" and "samples" of `score_tokenised`.

    Raises:
        CoreNlpMissing: CoreNLP is not available.
    """
    slots = _slots(by_image)
    best = oracle([_f_alone(score_spice(references, slot)) for slot in slots])
    return {
        "diversity": plain_scores(
            {"AllSPICE": all_spice(references, by_image)}, scored, k=len(slots)
        ),
        "oracle": plain_scores(best, scored, best_of=len(slots)),
        "samples": len(slots),
    }


def held_out(references: Captions) -> list[tuple[dict[int, str], dict[int, list[str]]]]:
    """Split the references into one that is held out and the others, in each possible way.

    Args:
        references: References by image id.

    Returns:
        For each k below the smallest number of references of an image: the k-th reference of every
        image, and the others of every image, both by image id. Empty if that number is 1.
    """
    count = min(len(captions) for captions in references.values())
    if count < 2:
        return []
    return [
        (
            {i: captions[k] for i, captions in references.items()},
            {i: captions[:k] + captions[k + 1 :] for i, captions in references.items()},
        )
        for k in range(count)
    ]


def tokenise(by_image: Captions) -> dict[int, list[str]]:
    """Return the captions of all images as PTB tokens, from one call of the tokeniser."""
    tokens = iter(ptb_tokenize([caption for captions in by_image.values() for caption in captions]))
    return {image_id: [next(tokens) for _ in captions] for image_id, captions in by_image.items()}


def _slots(by_image: Captions) -> list[dict[int, str]]:
    """Return the first caption of every image, then the second, and so on."""
    return [
        {i: captions[k] for i, captions in by_image.items()}
        for k in range(len(next(iter(by_image.values()))))
    ]


def _spice_of(
    pairs: Sequence[tuple[Captions, Mapping[int, str]]], wanted: Spice
) -> tuple[list[dict[str, MetricResult]], str | None]:
    """Return the SPICE of each pair of references and captions, or no scores and the reason."""
    if wanted == "off":
        return [{} for _ in pairs], None
    try:
        return [score_spice(*pair) for pair in pairs], None
    except (CoreNlpMissing, CaptionTooLong) as error:
        if wanted == "required":
            raise
        return [{} for _ in pairs], str(error)


def _f_alone(scores: Mapping[str, MetricResult]) -> dict[str, MetricResult]:
    """Leave out precision, recall and categories, which are not defined for every image."""
    return {metric: result for metric, result in scores.items() if metric == "SPICE"}


def missing_score(metric: str, reason: str | None, scored: Scored) -> dict[str, dict[str, Any]]:
    """Return the null score of a metric that was not computed, if there is a reason for that."""
    if reason is None:
        return {}
    null_score: dict[str, Any] = {
        "value": None,
        "interval": None,
        "n": None,
        "per_image": {},
        "signature": signature(metric, scored),
        "reason": reason,
    }
    return {metric: null_score}


def mean_over(rounds: Sequence[Mapping[str, MetricResult]]) -> dict[str, MetricResult]:
    """Average every metric over several rounds of the same images, corpus-wide and per image."""
    if not rounds:
        return {}
    ids = next(iter(rounds[0].values())).per_image
    return {
        metric: MetricResult(
            fmean(r[metric].corpus for r in rounds),
            {i: fmean(r[metric].per_image[i] for r in rounds) for i in ids},
        )
        for metric in rounds[0]
    }


def plain_scores(
    scores: Mapping[str, MetricResult], scored: Scored, **parameters: str | int
) -> dict:
    """Return scores as plain data, with intervals and signatures.

    Args:
        scores: Metric -> result.
        scored: The description of the references in signatures.
        **parameters: Further fields of the signatures, such as k.
    """
    plain = {}
    for metric, result in scores.items():
        # Resamples of one image are all the same, and say nothing of others.
        interval = interval_of(result) if scored.images > 1 else None
        plain[metric] = {
            "value": result.corpus,
            "interval": list(interval) if interval else None,
            "n": len(result.per_image) or None,
            "per_image": {str(i): score for i, score in result.per_image.items()},
            "signature": signature(metric, scored, **parameters),
        }
    return plain
