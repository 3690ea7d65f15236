"""Print scores of a small fixed input as JSON, to the last bit.

test_exact.py runs this under several settings of the processor. It needs no Java, so that it also
runs in an emulator; METEOR's formula is computed on made-up counts.
"""

import json
import random

import numpy as np

from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.coco_metrics import score_without_java
from dsacap.scoring.metrics.diversity import diversity
from dsacap.scoring.metrics.document_frequencies import document_frequencies
from dsacap.scoring.metrics.meteor import COUNTS, meteor_of_sums
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled
from dsacap.scoring.statistics import bootstrap_seeds_interval, compare, interval_of
from dsacap.training.cider_reward import CiderDReward

IMAGES, RESAMPLES = 60, 50
WORDS = ["a", "the", "two", "red", "dog", "cat", "runs", "on", "in", "park", "big", "bird", "wave"]


def fixed_input() -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return references and captions by image, five of each."""
    rng = random.Random(11)

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(3, 12)))

    references = {i: [sentence() for _ in range(5)] for i in range(IMAGES)}
    samples = {}
    for i, of_image in references.items():
        samples[i] = [rng.choice([rng.choice(of_image), sentence()]) for _ in range(5)]
    return references, samples


def meteor_of_made_up_counts() -> MetricResult:
    """Return METEOR of made-up counts."""
    counts = np.random.default_rng(3).integers(1, 12, size=(IMAGES, COUNTS)).astype(np.float64)
    counts[:, :4] += 100
    corpus = float(meteor_of_sums(counts.sum(0)[None])[0])
    per_image = dict(enumerate(meteor_of_sums(counts).tolist()))
    return MetricResult(corpus, per_image, Pooled(counts, meteor_of_sums))


def all_scores() -> dict[str, list[float]]:
    """Return every score that is computed here and not by Java, with its interval, by name."""
    references, samples = fixed_input()
    first, second = ({i: captions[slot] for i, captions in samples.items()} for slot in (0, 1))
    results, others = (score_without_java(references, captions) for captions in (first, second))
    pairs = {name: compare(results[name], others[name], resamples=RESAMPLES) for name in others}
    results |= diversity(samples, set(references[0]), document_frequencies(references.values()))
    results["METEOR"] = meteor_of_made_up_counts()
    scores = {}
    for name, result in results.items():
        interval = interval_of(result, resamples=RESAMPLES) or ()
        scores[name] = [result.corpus, *result.per_image.values(), *interval]
    for name, pair in pairs.items():
        scores[f"{name}, compared"] = list(vars(pair).values())
    seeds = np.reshape([*results["CIDEr"].per_image.values()], (3, -1))
    scores["over seeds"] = list(bootstrap_seeds_interval(seeds, resamples=RESAMPLES))
    reward = CiderDReward(references.values())
    scores["reward"] = reward.score(list(references.values()), list(first.values())).tolist()
    x = np.random.default_rng(4).random(500)
    scores["log"], scores["exp"] = exact.log(x).tolist(), exact.exp(-20 * x).tolist()
    scores["power"] = exact.power(x, 0.2).tolist()
    return scores


if __name__ == "__main__":
    scores = all_scores().items()
    digits = {name: [float(value).hex() for value in values] for name, values in scores}
    print(json.dumps(digits))
