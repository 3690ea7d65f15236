"""The scoring stage: every score of every decoding of one system, corpus-wide and per image, with its signature, as plain data.

Quality is that of one caption an image (the first, where several were drawn); diversity and the oracle are of all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Literal

from dsacap.common.errors import UserError
from dsacap.data.scenes.grammar import Scene
from dsacap.scoring.java.corenlp import CoreNlpMissing
from dsacap.scoring.metrics.cider import document_frequencies
from dsacap.scoring.metrics.coco_metrics import METRICS, score_many
from dsacap.scoring.metrics.diversity import diversity, oracle
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.scoring.metrics.scene_truth import score_truth
from dsacap.scoring.metrics.spice import METRICS as SPICE_METRICS
from dsacap.scoring.metrics.spice import all_spice, score_spice
from dsacap.scoring.metrics.train_overlap import count_leaks
from dsacap.scoring.signature import Scored, scored_against, signature
from dsacap.scoring.statistics import interval_of
from dsacap.text.ptb_tokenizer import ptb_tokenize

Captions = Mapping[int, list[str]]  # image id -> captions
PERCENT = {*METRICS, *SPICE_METRICS, "AllSPICE"}  # what papers print x100
Spice = Literal[
    "auto", "required", "off"
]  # auto: where CoreNLP can be had, else no score and the reason


def score_decodings(
    references: Captions,
    captions: Mapping[str, Captions],
    train_captions: set[str],
    scenes: Mapping[int, Scene] | None,
    scored: Scored | None = None,
    *,
    spice: Spice = "off",
    beside_humans: bool = True,
) -> dict:
    """Scores raw `captions` (decoding -> image id -> captions) against tokenised `references`: `score_tokenised` of their tokens."""
    tokenised = {name: tokenise(by_image) for name, by_image in captions.items()}
    return score_tokenised(
        references,
        tokenised,
        train_captions,
        scenes,
        scored,
        spice=spice,
        beside_humans=beside_humans,
    )


def score_tokenised(
    references: Captions,
    tokenised: Mapping[str, Captions],
    train_captions: set[str],
    scenes: Mapping[int, Scene] | None,
    scored: Scored | None = None,
    *,
    spice: Spice = "off",
    beside_humans: bool = True,
) -> dict:
    """Scores `tokenised` captions (decoding -> image id -> captions) against tokenised `references`.

    Returns decoding -> {"quality", "held_out", "oracle", "diversity": {metric: score}, "leaks", "samples": k}. A score is {"value",
    "interval" (95 % bootstrap over images) or null, "n", "per_image", "signature"}; SPICE that cannot be computed has the value null
    and a "reason". `held_out` is quality against all references but one, as humans face them: the mean over which is left out (empty
    unless `beside_humans`). `oracle` (the best of k, but for SPICE) and `diversity` are empty where k is 1.
    Raises CoreNlpMissing where SPICE is required and cannot be had.
    """
    scored = scored or scored_against(references)
    fewer = [others for _, others in held_out(references)] if beside_humans else []
    result = {}
    for name, by_image in tokenised.items():
        slots = _slots(by_image)
        first, rounds = (references, slots[0]), [(others, slots[0]) for others in fewer]
        scores = score_many([(references, slot) for slot in slots] + rounds)
        spices, reason = _spice_of([first, *rounds], spice)
        quality = scores[0] | spices[0] | (score_truth(slots[0], scenes) if scenes else {})
        several = len(slots) > 1
        varied = (
            diversity(by_image, train_captions, document_frequencies(references.values()))
            if several
            else {}
        )
        beside = mean_over(
            [s | _f_alone(of) for s, of in zip(scores[len(slots) :], spices[1:], strict=True)]
        )
        result[name] = {
            "quality": plain_scores(quality, scored) | _missing(reason, scored),
            "held_out": plain_scores(beside, scored, refs_of="all but one"),
            "oracle": plain_scores(oracle(scores[: len(slots)]), scored, best_of=len(slots))
            if several
            else {},
            "diversity": plain_scores(varied, scored, k=len(slots)),
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
    """The references scored as captions: each held out in turn against the others, the mean over which; all of them for diversity."""
    scored, rounds = scored_against(references), held_out(references)
    if not rounds:
        raise UserError("human rows need two captions of every image")
    pairs = [(others, candidates) for candidates, others in rounds]
    spices, _ = _spice_of(pairs, spice)
    scores = [s | _f_alone(of) for s, of in zip(score_many(pairs), spices, strict=True)]
    if scenes:
        scores = [
            s | score_truth(candidates, scenes)
            for s, (candidates, _) in zip(scores, rounds, strict=True)
        ]
    everyone = {i: said[: len(rounds)] for i, said in references.items()}
    varied = diversity(everyone, train_captions, document_frequencies(references.values()))
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
    """What is costly of k >= 2 tokenised captions an image, since each is parsed: AllSPICE, and the best of k by SPICE.

    Returns the parts "diversity", "oracle" and "samples" of `score_decodings`. Raises CoreNlpMissing where SPICE cannot be had.
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
    """For each reference that all images have: (it, the others), by image id. Empty where some image has one reference only."""
    count = min(len(said) for said in references.values())
    if count < 2:
        return []
    return [
        (
            {i: said[k] for i, said in references.items()},
            {i: said[:k] + said[k + 1 :] for i, said in references.items()},
        )
        for k in range(count)
    ]


def tokenise(by_image: Captions) -> dict[int, list[str]]:
    """PTB tokens of all captions of all images, in one call of the tokenizer."""
    tokens = iter(ptb_tokenize([caption for said in by_image.values() for caption in said]))
    return {image_id: [next(tokens) for _ in said] for image_id, said in by_image.items()}


def _slots(by_image: Captions) -> list[dict[int, str]]:
    """Every image's first caption, second, and so on."""
    return [
        {i: said[k] for i, said in by_image.items()}
        for k in range(len(next(iter(by_image.values()))))
    ]


def _spice_of(
    pairs: Sequence[tuple[Captions, Mapping[int, str]]], wanted: Spice
) -> tuple[list[dict[str, MetricResult]], str | None]:
    """SPICE of each pair of references and captions; where it cannot be had, nothing, and the reason."""
    if wanted == "off":
        return [{} for _ in pairs], None
    try:
        return [score_spice(*pair) for pair in pairs], None
    except CoreNlpMissing as error:
        if wanted == "required":
            raise
        return [{} for _ in pairs], str(error)


def _f_alone(scores: Mapping[str, MetricResult]) -> dict[str, MetricResult]:
    """Without precision, recall and categories, which not every image has."""
    return {metric: result for metric, result in scores.items() if metric == "SPICE"}


def _missing(reason: str | None, scored: Scored) -> dict:
    nothing = {
        "value": None,
        "interval": None,
        "n": None,
        "per_image": {},
        "signature": signature("SPICE", scored),
        "reason": reason,
    }
    return {"SPICE": nothing} if reason else {}


def mean_over(rounds: Sequence[Mapping[str, MetricResult]]) -> dict[str, MetricResult]:
    """Every metric's mean over several rounds, corpus-wide and per image."""
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
    """Scores as plain data. `parameters` go into the signatures."""
    plain = {}
    for metric, result in scores.items():
        interval = interval_of(result)
        plain[metric] = {
            "value": result.corpus,
            "interval": list(interval) if interval else None,
            "n": len(result.per_image) or None,
            "per_image": {str(i): score for i, score in result.per_image.items()},
            "signature": signature(metric, scored, **parameters),
        }
    return plain
