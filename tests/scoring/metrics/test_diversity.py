import json
import math
import random

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.diversity import diversity, oracle, self_cider
from dsacap.scoring.metrics.document_frequencies import document_frequencies
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images
from dsacap.text.ptb_tokenizer import ptb_tokenize

SAMPLES = {4: ["a red dog", "a red cat"], 9: ["two birds", "two birds"]}


def test_by_hand():
    results = diversity(SAMPLES, train_captions={"a red dog", "two"})
    # Image 4: {a, red, dog, cat} and {a red, red dog, red cat} of 6 words; image 9: {two, birds}
    # and {two birds} of 4 words.
    assert results["Div-1"].per_image == {4: 4 / 6, 9: 2 / 4}
    assert results["Div-2"].per_image == {4: 3 / 6, 9: 1 / 4}
    assert results["unique"].per_image == {4: 2, 9: 1}
    assert results["novel"].per_image == {4: 0.5, 9: 1}
    corpus = {"Div-1": 7 / 12, "Div-2": 3 / 8, "unique": 1.5, "novel": 0.75, "vocabulary": 6}
    assert {name: results[name].corpus for name in corpus} == pytest.approx(corpus)
    assert results["mBLEU-4"].per_image == results["vocabulary"].per_image == {}


def test_mbleu_by_hand():
    same, half = (
        ["a red dog runs here"] * 3,
        ["a red dog runs here", "a red dog runs away", "no word in common"],
    )
    assert diversity({1: same, 2: same}, set())["mBLEU-4"].corpus == pytest.approx(1)
    # Slots 0 and 1 share 4 of 5, 3 of 4, 2 of 3 and 1 of 2 n-grams; slot 2 shares none.
    assert diversity({1: half}, set())["mBLEU-4"].corpus == pytest.approx(
        2 / 3 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    )


def test_mbleu_equals_stock_slot_by_slot():
    rng = random.Random(3)
    for k in (2, 3, 7):
        samples = {
            i: [" ".join(rng.choices("abcd", k=rng.randint(0, 9))) for _ in range(k)]
            for i in range(20)
        }
        rounds = []
        for slot in range(k):
            others = {i: of_image[:slot] + of_image[slot + 1 :] for i, of_image in samples.items()}
            rounds.append(
                Bleu(4).compute_score(
                    others, {i: [of_image[slot]] for i, of_image in samples.items()}, verbose=0
                )[0]
            )
        results = diversity(samples, set())
        assert [results[f"mBLEU-{n}"].corpus for n in range(1, 5)] == pytest.approx(
            np.mean(rounds, 0).tolist(), abs=1e-12
        )


def test_self_cider_of_extremes():
    same, other = "a red dog runs here", "two cats sleep on beds"
    frequencies = document_frequencies([[same], [other], ["a bird"]])
    assert self_cider({1: [same] * 3, 2: [other] * 3}, frequencies).per_image == pytest.approx(
        {1: 0, 2: 0}, abs=1e-6
    )
    assert self_cider({1: [same, other]}, frequencies).corpus == pytest.approx(1)
    assert self_cider({1: ["", ""], 2: ["", same]}, frequencies).per_image == {1: 0, 2: 0}


def test_self_cider_of_groups_of_equal_captions():
    """Groups of equal captions that share nothing with other groups.

    The eigenvalues are the sizes of the groups, and 0 for each repeated caption.
    """
    words = [
        "a red dog runs here",
        "two cats sleep on beds",
        "men ride big waves fast",
        "one plane lands",
        "x",
        "y",
    ]
    frequencies = document_frequencies([[word] for word in words])
    for sizes in ((2, 1), (3, 3), (2, 2, 2), (4, 1, 1), (1, 2, 3), (5, 2), (3, 2, 2)):
        captions = [words[group] for group, size in enumerate(sizes) for _ in range(size)]
        roots = np.sqrt(sizes)
        expected = -math.log(roots.max() / roots.sum()) / math.log(len(captions))
        assert self_cider({1: captions}, frequencies).corpus == pytest.approx(expected, abs=1e-6)
    # The kernel of captions of one word is a quarter on the diagonal.
    assert self_cider({1: ["x", "y"]}, frequencies).corpus == pytest.approx(1)


def test_self_cider_by_its_definition():
    """The kernel is computed with dictionaries; some words do not occur in the corpus."""
    rng = random.Random(4)
    corpus = [[" ".join(rng.choices("abcdef", k=6)) for _ in range(3)] for _ in range(30)]
    samples = {
        i: [" ".join(rng.choices("abcdefgh", k=rng.randint(4, 9))) for _ in range(4)]
        for i in range(6)
    }

    def ngrams(caption):
        words = caption.split()
        return [tuple(words[s : s + n]) for n in range(1, 5) for s in range(len(words) - n + 1)]

    documents = [{gram for caption in of_image for gram in ngrams(caption)} for of_image in corpus]

    def vector(caption, n):
        grams = [gram for gram in ngrams(caption) if len(gram) == n]
        return {
            g: grams.count(g) * math.log(30 / max(1, sum(g in d for d in documents))) for g in grams
        }

    def cosine(a, b):
        norms = math.hypot(*a.values()) * math.hypot(*b.values())
        return sum(weight * b.get(gram, 0) for gram, weight in a.items()) / norms if norms else 0

    scores = self_cider(samples, document_frequencies(corpus)).per_image
    for image, of_image in samples.items():
        kernel = [
            [np.mean([cosine(vector(a, n), vector(b, n)) for n in range(1, 5)]) for b in of_image]
            for a in of_image
        ]
        roots = np.sqrt(np.linalg.eigvalsh(kernel).clip(0))
        assert scores[image] == pytest.approx(-math.log(roots[-1] / roots.sum()) / math.log(4))


def test_self_cider_does_not_depend_on_shards(monkeypatch):
    samples = {i: [f"a {w} dog runs in park {i}" for w in ("red", "big", "red")] for i in range(5)}
    frequencies = document_frequencies(samples.values())
    whole = self_cider(samples, frequencies)
    monkeypatch.setattr("dsacap.scoring.metrics.diversity._PAIRS", 1)
    assert self_cider(samples, frequencies).per_image == pytest.approx(whole.per_image)
    assert diversity(samples, set(), frequencies)["Self-CIDEr"].corpus == pytest.approx(
        whole.corpus
    )


def test_oracle_takes_the_best_of_each_metric():
    slots = [
        {
            "CIDEr": mean_over_images({1: 0.5, 2: 2.0}),
            "BLEU-4": MetricResult(0.9, {1: 0.1, 2: 0.2}),
            "vocabulary": MetricResult(3, {}),
        },
        {
            "CIDEr": mean_over_images({2: 1.0, 1: 1.5}),
            "BLEU-4": MetricResult(0.9, {1: 0.3, 2: 0.0}),
            "vocabulary": MetricResult(3, {}),
        },
    ]
    assert oracle(slots) == {
        "CIDEr": MetricResult(1.75, {1: 1.5, 2: 2.0}),
        "BLEU-4": MetricResult(0.25, {1: 0.3, 2: 0.2}),
    }
    assert oracle(slots[1:]) == {
        "CIDEr": MetricResult(1.25, {2: 1.0, 1: 1.5}),
        "BLEU-4": MetricResult(0.15, {1: 0.3, 2: 0.0}),
    }
    with pytest.raises(UserError, match=r"^no captions to choose the best of; give"):
        oracle([])
    with pytest.raises(UserError, match="CIDEr of caption 2 was computed on other images"):
        oracle([slots[0], {"CIDEr": mean_over_images({1: 1.0})}])


def test_empty_captions_have_no_diversity():
    results = diversity({1: ["", ""], 2: ["a cat", ""], 3: ["cat", ""]}, set())
    assert results["Div-1"].per_image == {1: 0, 2: 1, 3: 1}
    assert results["Div-2"].per_image == {1: 0, 2: 0.5, 3: 0}
    assert results["mBLEU-4"].corpus == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({}, "^diversity needs captions, and there are none"),
        ({1: ["a cat"], 2: ["a dog"]}, "needs two or more, image 1 has 1"),
        ({1: ["a cat", "a dog"], 2: ["a dog"]}, "image 2 has 1 captions, image 1 has 2"),
    ],
)
def test_guards(samples, message):
    with pytest.raises(UserError, match=message):
        diversity(samples, set())


def test_blip_and_humans_score_as_published(real_data):
    """Each image has six captions: BLIP's, and those of five people."""
    images = json.loads(
        (real_data / "diversity" / "blip_and_5_humans.json").read_text(encoding="utf-8")
    )["imgblobs"]
    raw = [c["text"] for image in images for c in (image["candidate"], *image["candidatelist"])]
    tokenised = ptb_tokenize(raw)
    results = diversity({i: tokenised[6 * i : 6 * i + 6] for i in range(len(images))}, set())
    assert len(tokenised) == 6 * len(images) == 30_000
    published = {"Div-1": 0.4774, "Div-2": 0.6926, "vocabulary": 7371}
    assert {name: round(results[name].corpus, 4) for name in published} == published
    mbleu = [round(results[f"mBLEU-{n}"].corpus, 8) for n in range(1, 5)]
    assert mbleu == [0.68732791, 0.50799234, 0.36752429, 0.26543623]
