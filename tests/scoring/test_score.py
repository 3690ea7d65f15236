"""The scoring stage: what stands in its result, on numbers that can be worked out by hand."""

import pytest

from dsacap.data.grammar import Scene, Thing
from dsacap.scoring.score import score_decodings, score_humans

REFERENCES = {1: ["a red circle", "a red disc", "a red circle and a blue square"], 2: ["a green bar", "a green stripe", "a big green bar"]}
SCENES = {
    1: Scene("grey", (Thing("circle", "red", "large", (0, 0)), Thing("square", "blue", "small", (1, 1)))),
    2: Scene("grey", (Thing("bar", "green", "large", (0, 0)), Thing("ring", "blue", "small", (1, 1)))),
}


@pytest.fixture(scope="module")
def scores():
    captions = {"one": {1: ["A red circle."], 2: ["A green ring!"]}, "two": {1: ["a red disc", "bar red"], 2: ["a bar", "a bar"]}}
    return score_decodings(REFERENCES, captions, {"a red disc"}, SCENES)


def test_quality_is_of_the_first_caption(scores):
    assert scores["one"]["quality"]["BLEU-1"]["value"] == pytest.approx(5 / 6)
    assert scores["one"]["quality"]["true"]["per_image"] == {"1": 1.0, "2": 0.0}
    assert scores["two"]["quality"]["grammatical"]["value"] == 1


def test_diversity_is_of_all_and_absent_for_one(scores):
    assert scores["one"]["diversity"] == {} and scores["one"]["samples"] == 1
    assert scores["two"]["samples"] == 2
    assert scores["two"]["diversity"]["unique"]["value"] == pytest.approx(1.5)
    assert scores["two"]["diversity"]["novel"]["value"] == pytest.approx(0.75)


def test_intervals_stand_where_the_score_is_a_mean_over_images(scores):
    quality = scores["one"]["quality"]
    for metric in ("CIDEr", "ROUGE-L", "true"):
        low, high = quality[metric]["interval"]
        assert low <= quality[metric]["value"] <= high and quality[metric]["n"] == 2
    assert quality["BLEU-4"]["interval"] is None and quality["METEOR"]["interval"] is None


def test_humans_are_held_out_in_turn():
    human = score_humans(REFERENCES, set(), SCENES)["references"]
    assert human["samples"] == 3
    assert human["quality"]["true"]["value"] == 1
    assert human["diversity"]["unique"]["value"] == 3
    rounds = []
    for k in range(3):
        others = {i: said[:k] + said[k + 1 :] for i, said in REFERENCES.items()}
        rounds.append(score_decodings(others, {"k": {i: [said[k]] for i, said in REFERENCES.items()}}, set(), None)["k"]["quality"])
    for metric in ("BLEU-1", "METEOR", "CIDEr"):
        assert human["quality"][metric]["value"] == pytest.approx(sum(r[metric]["value"] for r in rounds) / 3)
