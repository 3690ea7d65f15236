"""Print scores of a small fixed input as JSON, to the last bit: run by test_exact.py under several settings of the processor.

Without Java, so that it also runs in an emulator; METEOR's formula is computed on made-up counts.
"""

import json
import random

import numpy as np

from dsacap.scoring import exact
from dsacap.scoring.cider import document_frequencies
from dsacap.scoring.cider_reward import CiderDReward
from dsacap.scoring.coco_metrics import score_without_java
from dsacap.scoring.diversity import diversity
from dsacap.scoring.meteor import COUNTS, meteor_of_sums
from dsacap.scoring.results import MetricResult, Pooled
from dsacap.scoring.statistics import bootstrap_seeds_interval, compare, interval_of

IMAGES, RESAMPLES = 60, 50
WORDS = ["a", "the", "two", "red", "dog", "cat", "runs", "on", "in", "park", "big", "bird", "wave", "man", "rides"]


def fixed_input() -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and candidates by image, five of each."""
    rng = random.Random(11)
    references = {i: [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in range(5)] for i in range(IMAGES)}
    said = {i: [rng.choice([rng.choice(refs), " ".join(rng.choices(WORDS, k=9))]) for _ in range(5)] for i, refs in references.items()}
    return references, said


def all_scores() -> dict[str, list[float]]:
    """Every score that is computed here and not by Java, with its interval, by name."""
    references, said = fixed_input()
    first, second = ({i: captions[slot] for i, captions in said.items()} for slot in (0, 1))
    results, others = score_without_java(references, first), score_without_java(references, second)
    results |= diversity(said, set(references[0]), document_frequencies(references.values()))
    counts = np.random.default_rng(3).integers(1, 12, size=(IMAGES, COUNTS)).astype(np.float64)
    counts[:, :4] += 100
    pooled = Pooled(counts, meteor_of_sums)
    per_image = dict(enumerate(meteor_of_sums(counts).tolist()))
    results["METEOR"] = MetricResult(float(meteor_of_sums(counts.sum(0)[None])[0]), per_image, pooled)
    scores = {name: [of.corpus, *of.per_image.values(), *(interval_of(of, resamples=RESAMPLES) or ())] for name, of in results.items()}
    pairs = {name: compare(results[name], others[name], resamples=RESAMPLES) for name in others}
    scores |= {f"{name}, compared": list(vars(pair).values()) for name, pair in pairs.items() if pair}
    seeds = np.reshape([*results["CIDEr"].per_image.values()], (3, -1))
    scores["over seeds"] = list(bootstrap_seeds_interval(seeds, resamples=RESAMPLES))
    rewards = CiderDReward(references.values()).score(list(references.values()), list(first.values()))
    scores["reward"] = rewards.tolist()
    x = np.random.default_rng(4).random(500)
    scores |= {"log": exact.log(x).tolist(), "exp": exact.exp(-20 * x).tolist(), "power": exact.power(x, 0.2).tolist()}
    return scores


if __name__ == "__main__":
    print(json.dumps({name: [value.hex() for value in map(float, values)] for name, values in all_scores().items()}))
