"""The parts of a score, on numbers that can be computed by hand."""

import pytest

from dsacap.data.scenes.grammar import Scene, Thing
from dsacap.scoring import score as module
from dsacap.scoring.frequencies import frequencies_of
from dsacap.scoring.java.corenlp import CoreNlpMissing
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images
from dsacap.scoring.metrics.spice import CaptionTooLong
from dsacap.scoring.score import score_decodings, score_humans, score_samples
from dsacap.scoring.signature import scored_against

REFERENCES = {
    1: ["a red circle", "a red disc", "a red circle and a blue square"],
    2: ["a green bar", "a green stripe", "a big green bar"],
}
SCENES = {
    1: Scene(
        "grey", (Thing("circle", "red", "large", (0, 0)), Thing("square", "blue", "small", (1, 1)))
    ),
    2: Scene(
        "grey", (Thing("bar", "green", "large", (0, 0)), Thing("ring", "blue", "small", (1, 1)))
    ),
}


@pytest.fixture(scope="module")
def scores():
    captions = {
        "one": {1: ["A red circle."], 2: ["A green ring!"]},
        "two": {1: ["a red disc", "bar red"], 2: ["a bar", "a bar"]},
    }
    return score_decodings(REFERENCES, captions, {"a red disc"}, SCENES)


def test_quality_is_that_of_the_first_caption(scores):
    assert scores["one"]["quality"]["BLEU-1"]["value"] == pytest.approx(5 / 6)
    assert scores["one"]["quality"]["true"]["per_image"] == {"1": 1.0, "2": 0.0}
    assert scores["two"]["quality"]["grammatical"]["value"] == 1


def test_diversity_uses_all_captions_and_is_absent_for_one(scores):
    assert scores["one"]["diversity"] == {} and scores["one"]["samples"] == 1
    assert scores["two"]["samples"] == 2
    assert scores["two"]["diversity"]["unique"]["value"] == pytest.approx(1.5)
    assert scores["two"]["diversity"]["novel"]["value"] == pytest.approx(0.75)


def test_every_quality_has_an_interval_and_a_signature(scores):
    quality = scores["one"]["quality"]
    assert {"BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "true"} <= quality.keys()
    for metric, score in quality.items():
        low, high = score["interval"]
        assert (
            low <= score["value"] + 1e-12 and score["value"] <= high + 1e-12 and score["n"] == 2
        ), metric
        assert "|images:2|" in score["signature"]
    assert (
        scores["two"]["diversity"]["Div-1"]["signature"].startswith("Div-1|")
        and "|k:2|" in scores["two"]["diversity"]["Div-1"]["signature"]
    )


def test_oracle_is_the_best_of_the_samples(scores):
    assert scores["one"]["oracle"] == {}
    best, first = scores["two"]["oracle"], scores["two"]["quality"]
    assert all(
        best[m]["per_image"][i] >= first[m]["per_image"][i]
        for m in ("CIDEr", "METEOR", "ROUGE-L")
        for i in ("1", "2")
    )


def test_leaks_are_counted(scores):
    assert (
        scores["two"]["leaks"]["verbatim"] == 1
        and scores["two"]["leaks"]["captions"] == 4
        and scores["one"]["leaks"]["verbatim"] == 0
    )


def test_held_out_quality_is_the_mean_over_the_reference_left_out(scores):
    captions = {"k": {1: ["A red circle."], 2: ["A green ring!"]}}
    rounds = []
    for k in range(3):
        others = {i: refs[:k] + refs[k + 1 :] for i, refs in REFERENCES.items()}
        rounds.append(
            score_decodings(others, captions, set(), None)["k"]["quality"]["CIDEr"]["value"]
        )
    assert scores["one"]["held_out"]["CIDEr"]["value"] == pytest.approx(sum(rounds) / 3)
    assert scores["one"]["held_out"]["CIDEr"]["value"] != scores["one"]["quality"]["CIDEr"]["value"]
    assert (
        score_decodings({1: ["a red circle"], 2: ["x"]}, captions, set(), None)["k"]["held_out"]
        == {}
    )


def test_humans_are_held_out_in_turn():
    human = score_humans(REFERENCES, set(), SCENES)["references"]
    assert human["samples"] == 3
    assert human["held_out"]["true"]["value"] == 1
    assert human["diversity"]["unique"]["value"] == 3
    rounds = []
    for k in range(3):
        others = {i: of_image[:k] + of_image[k + 1 :] for i, of_image in REFERENCES.items()}
        rounds.append(
            score_decodings(
                others, {"k": {i: [of_image[k]] for i, of_image in REFERENCES.items()}}, set(), None
            )["k"]["quality"]
        )
    for metric in ("BLEU-1", "METEOR", "CIDEr"):
        assert human["held_out"][metric]["value"] == pytest.approx(
            sum(r[metric]["value"] for r in rounds) / 3
        )


# ----------------------------------------------------------------------------------------- SPICE


@pytest.fixture
def spice(monkeypatch):
    """A fake SPICE: the share of references that equal the caption; image 2 has no colour."""

    def score_spice(references, candidates):
        f = {i: of_image.count(candidates[i]) / len(of_image) for i, of_image in references.items()}
        return {"SPICE": mean_over_images(f), "SPICE-color": MetricResult(f[1], {1: f[1]})}

    monkeypatch.setattr(module, "score_spice", score_spice)
    monkeypatch.setattr(
        module,
        "all_spice",
        lambda references, samples: MetricResult(0.5, dict.fromkeys(samples, 0.5)),
    )


SAMPLES = {1: ["a red circle", "blue"], 2: ["a green ring", "a green bar"]}


@pytest.mark.parametrize("wanted", ["auto", "required"])
def test_spice_has_its_categories_and_human_scores(spice, wanted):
    scores = score_decodings(REFERENCES, {"k": SAMPLES}, set(), None, spice=wanted)["k"]
    assert (
        scores["quality"]["SPICE"]["value"] == pytest.approx(1 / 6)
        and scores["quality"]["SPICE-color"]["n"] == 1
    )
    assert scores["quality"]["SPICE"]["signature"].startswith("SPICE|corenlp:3.6.0|")
    assert (
        scores["held_out"]["SPICE"]["value"] == pytest.approx((1 / 4 + 0 + 1 / 4) / 3)
        and "SPICE-color" not in scores["held_out"]
    )
    assert "SPICE" not in scores["oracle"]
    assert "SPICE" in score_humans(REFERENCES, set(), None, wanted)["references"]["held_out"]


@pytest.mark.parametrize("why", [CoreNlpMissing, CaptionTooLong])
def test_spice_that_fails_is_null_with_the_reason_unless_required(why, monkeypatch):
    def missing(*_):
        raise why("SPICE: not computed")

    monkeypatch.setattr(module, "score_spice", missing)
    scores = score_decodings(REFERENCES, {"k": SAMPLES}, set(), None, spice="auto")["k"]
    assert (
        scores["quality"]["SPICE"]["value"] is None
        and scores["quality"]["SPICE"]["reason"] == "SPICE: not computed"
    )
    assert scores["quality"]["CIDEr"]["value"] > 0 and "SPICE" not in scores["held_out"]
    assert "SPICE" not in score_humans(REFERENCES, set(), None, "auto")["references"]["held_out"]
    with pytest.raises(why):
        score_decodings(REFERENCES, {"k": SAMPLES}, set(), None, spice="required")


def test_spice_is_left_out_of_the_decodings_that_are_named(spice):
    captions = {"first": SAMPLES, "point": SAMPLES}
    found = score_decodings(
        REFERENCES, captions, set(), None, spice="required", without_spice=["point"]
    )
    first, point = found["first"], found["point"]
    assert "SPICE" in first["quality"] and "SPICE" in first["held_out"]
    assert not any("SPICE" in name for name in (*point["quality"], *point["held_out"]))
    assert point["quality"]["CIDEr"] == first["quality"]["CIDEr"]


def test_spider_is_computed_where_it_is_wanted_and_both_exist(spice):
    def quality(references=REFERENCES, wanted="auto", with_spider=True):
        captions = {"k": {i: SAMPLES[i] for i in references}}
        settings = {"spice": wanted, "with_spider": with_spider}
        return score_decodings(references, captions, set(), None, **settings)["k"]["quality"]

    scores = quality()
    for i in ("1", "2"):
        both = [scores[metric]["per_image"][i] for metric in ("SPICE", "CIDEr")]
        assert scores["SPIDEr"]["per_image"][i] == sum(both) / 2
    assert scores["SPIDEr"]["signature"].startswith("SPIDEr|df:test-refs|")
    for without in (quality(with_spider=False), quality(wanted="off")):
        assert "SPIDEr" not in without
    of_one_image = quality({1: REFERENCES[1]})["SPIDEr"]  # which has no CIDEr
    assert of_one_image["value"] is None and "mean of SPICE and CIDEr" in of_one_image["reason"]


# ------------------------------------------------------------------------------------- one image


def test_one_image_has_no_cider_and_the_reason():
    one = {1: REFERENCES[1]}
    scores = score_decodings(one, {"k": {1: SAMPLES[1]}}, set(), None)["k"]
    assert scores["quality"]["BLEU-1"]["value"] == pytest.approx(1)
    for part, metric in (("quality", "CIDEr"), ("diversity", "Self-CIDEr")):
        assert scores[part][metric]["value"] is None and scores[part][metric]["per_image"] == {}
        assert scores[part][metric]["reason"].startswith(f"{metric}: not computed")
    assert {"METEOR", "ROUGE-L"} <= scores["oracle"].keys() and "CIDEr" not in scores["oracle"]
    assert all(score["interval"] is None for score in scores["quality"].values())


def test_frequencies_of_other_captions():
    """They are used for all that is scored, and a score is that of the image alone."""
    others = frequencies_of({9: ["a red square"], 8: ["a green circle"], 7: ["blue"]})
    both = score_decodings(REFERENCES, {"k": SAMPLES}, set(), None, frequencies=others)["k"]
    for i, references in REFERENCES.items():
        alone = score_decodings(
            {i: references}, {"k": {i: SAMPLES[i]}}, set(), None, frequencies=others
        )["k"]
        for part in ("quality", "oracle", "held_out"):
            assert alone[part]["CIDEr"]["value"] == both[part]["CIDEr"]["per_image"][str(i)]
        values = [
            scores["diversity"]["Self-CIDEr"]["per_image"][str(i)] for scores in (alone, both)
        ]
        assert values[0] == values[1]
        assert f"|df:{others.name}|" in alone["quality"]["CIDEr"]["signature"]
        assert f"|df:{others.name}|" in alone["diversity"]["Self-CIDEr"]["signature"]
    own = score_decodings(REFERENCES, {"k": SAMPLES}, set(), None)["k"]["quality"]
    assert own["CIDEr"]["value"] != both["quality"]["CIDEr"]["value"]
    assert own["BLEU-4"] == both["quality"]["BLEU-4"]


def test_samples_have_all_spice_and_the_best_by_spice(spice):
    scores = score_samples(REFERENCES, SAMPLES, scored_against(REFERENCES))
    assert scores["diversity"]["AllSPICE"]["value"] == 0.5 and scores["samples"] == 2
    assert scores["oracle"]["SPICE"]["per_image"] == pytest.approx({"1": 1 / 3, "2": 1 / 3})
    assert "|best_of:2|" in scores["oracle"]["SPICE"]["signature"]
