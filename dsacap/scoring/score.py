"""The scoring stage: every score of every decoding of one system, corpus-wide and per image, as plain data.

Quality is that of one caption an image (the first, where several were drawn); diversity is that of all of them.
"""

from collections.abc import Mapping
from statistics import fmean

from dsacap.data.grammar import Scene
from dsacap.errors import UserError
from dsacap.scoring.coco_metrics import score_many
from dsacap.scoring.diversity import diversity
from dsacap.scoring.results import MetricResult
from dsacap.scoring.scene_truth import score_truth
from dsacap.scoring.statistics import bootstrap_mean_interval
from dsacap.scoring.tokenizer import ptb_tokenize


def score_decodings(
    references: Mapping[int, list[str]],
    captions: Mapping[str, Mapping[int, list[str]]],
    train_captions: set[str],
    scenes: Mapping[int, Scene] | None,
) -> dict:
    """Scores raw `captions` (decoding -> image id -> captions) against tokenised `references`.

    Returns decoding -> {"quality": {metric: score}, "diversity": {metric: score}, "samples": k}, where a score is {"value",
    "interval" (95 % bootstrap over images) or null, "n", "per_image"}. `diversity` is empty where there is one caption an image.
    """
    tokenised = {name: tokenise(by_image) for name, by_image in captions.items()}
    firsts = {name: {i: said[0] for i, said in by_image.items()} for name, by_image in tokenised.items()}
    quality = dict(zip(firsts, score_many([(references, candidates) for candidates in firsts.values()]), strict=True))
    result = {}
    for name, by_image in tokenised.items():
        samples = len(next(iter(by_image.values())))
        scores = quality[name] | (score_truth(firsts[name], scenes) if scenes else {})
        varied = diversity(by_image, train_captions) if samples > 1 else {}
        result[name] = {"quality": plain_scores(scores), "diversity": plain_scores(varied), "samples": samples}
    return result


def score_humans(references: Mapping[int, list[str]], train_captions: set[str], scenes: Mapping[int, Scene] | None) -> dict:
    """The references scored as captions: each held out in turn against the others (mean over which), all of them for diversity.

    Humans face one reference less than systems do, which lowers their scores; the table says so.
    """
    count = min(len(said) for said in references.values())
    if count < 2:
        raise UserError("human rows need two captions of every image")
    held_out = [{i: said[k] for i, said in references.items()} for k in range(count)]
    others = [{i: said[:k] + said[k + 1 :] for i, said in references.items()} for k in range(count)]
    rounds = score_many(list(zip(others, held_out, strict=True)))
    if scenes:
        rounds = [scores | score_truth(candidates, scenes) for scores, candidates in zip(rounds, held_out, strict=True)]
    quality = {metric: _mean_of([scores[metric] for scores in rounds]) for metric in rounds[0]}
    varied = diversity({i: said[:count] for i, said in references.items()}, train_captions)
    return {"references": {"quality": plain_scores(quality), "diversity": plain_scores(varied), "samples": count}}


def tokenise(by_image: Mapping[int, list[str]]) -> dict[int, list[str]]:
    """PTB tokens of all captions of all images, in one call of the tokenizer."""
    tokens = iter(ptb_tokenize([caption for said in by_image.values() for caption in said]))
    return {image_id: [next(tokens) for _ in said] for image_id, said in by_image.items()}


def _mean_of(results: list[MetricResult]) -> MetricResult:
    ids = results[0].per_image
    return MetricResult(fmean(r.corpus for r in results), {i: fmean(r.per_image[i] for r in results) for i in ids})


# Corpus BLEU and METEOR pool counts over the images; they are no mean of per-image scores, so no interval is drawn from those.
_POOLED = {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR"}


def plain_scores(scores: Mapping[str, MetricResult]) -> dict:
    plain = {}
    for metric, result in scores.items():
        has_interval = bool(result.per_image) and metric not in _POOLED
        plain[metric] = {
            "value": result.corpus,
            "interval": list(bootstrap_mean_interval(list(result.per_image.values()))) if has_interval else None,
            "n": len(result.per_image) or None,
            "per_image": {str(i): score for i, score in result.per_image.items()},
        }
    return plain
