"""Comparisons of several systems: Holm's correction, ranks with ties, and the numbers."""

import json

import pytest

import dsacap
from dsacap.common.errors import UserError
from dsacap.evaluation.comparison import holm
from dsacap.evaluation.inputs import Reading
from dsacap.scoring.metrics import spice

WORDS = ("dog", "cat", "bird", "horse", "cow")
REFERENCES = {i: [f"a {WORDS[i % 5]} number {i} runs"] for i in range(60)}
GOOD = {i: f"a {WORDS[i % 5]} number {i}" for i in range(60)}
BAD = dict.fromkeys(GOOD, "nothing at all")


def test_holm_is_that_of_the_paper():
    """Holm 1979: multiply by the number of hypotheses that are left, and never go down."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]


def test_systems_that_do_not_differ_are_tied():
    systems = {"bad": BAD, "good": GOOD, "twin": GOOD}
    found = dsacap.compare(systems, REFERENCES, spice="off")
    assert {name: of["CIDEr"] for name, of in found.ranks.items()} == {
        "bad": 3,
        "good": 1,
        "twin": 1,
    }
    table = found.to_pandas().set_index(["metric", "first", "second"])
    row = table.loc[("CIDEr", "bad", "good")]
    assert row["difference"] == pytest.approx(
        found.values["bad"]["CIDEr"] - found.values["good"]["CIDEr"]
    )
    assert row["low"] <= row["difference"] <= row["high"] < 0
    assert row["p_holm"] == pytest.approx(3 * row["p"])
    assert table.loc[("CIDEr", "good", "twin"), "p"] == 1
    assert len(table) == 3 * 7
    assert found.captions["good"][7] == GOOD[7]
    assert repr(found).startswith("Comparison(bad: CIDEr=0.0") and len(repr(found)) < 200
    spread = {i: found.ciders["good"][i] - found.ciders["bad"][i] for i in GOOD}
    won, examples = found.won(), found.examples(2)
    assert won["good"] == won["twin"] and len(won["good"]) == 60 and not won["bad"]
    assert spread[won["good"][0]] == pytest.approx(max(spread.values()))
    # Images that two systems share are examples of one of them only.
    assert examples == {"bad": [], "good": won["good"][:2], "twin": won["twin"][2:4]}


def test_an_image_on_which_all_are_equal_is_won_by_none():
    other = GOOD | {3: "a horse number 3 runs"}
    found = dsacap.compare({"good": GOOD, "other": other}, REFERENCES, spice="off")
    assert found.won() == found.examples() == {"good": [], "other": [3]}


def test_domains_are_not_compared_which_a_note_says(tmp_path):
    path = tmp_path / "nocaps.json"
    images = [{"id": i, "domain": "in-domain"} for i in GOOD]
    annotations = [{"image_id": i, "caption": texts[0]} for i, texts in REFERENCES.items()]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    systems = {"good": GOOD, "bad": BAD}
    assert "domains are not compared" in dsacap.compare(systems, path, spice="off").notes[-1]
    assert "domains" not in " ".join(dsacap.compare(systems, REFERENCES, spice="off").notes)


def test_one_system_or_other_images_are_refused():
    with pytest.raises(UserError, match="needs two or more"):
        dsacap.compare({"one": GOOD}, REFERENCES)
    with pytest.raises(UserError, match="b: no prediction for 59 of 60 images"):
        dsacap.compare({"a": GOOD, "b": {1: "x"}}, REFERENCES)
    with pytest.raises(UserError, match="b: not of the same images as a; only one of them has 58"):
        dsacap.compare({"a": GOOD, "b": {1: "x", 2: "y"}}, REFERENCES, how=Reading(subset=True))


def test_several_captions_are_compared_by_the_first_and_it_is_noted():
    several = {i: [caption, "x"] for i, caption in GOOD.items()}
    found = dsacap.compare({"one": GOOD, "two": several}, REFERENCES, spice="off")
    assert found.values["one"] == found.values["two"]
    assert "two: the first caption of each image is compared" in found.notes


def test_signatures_and_document_frequencies():
    few, settings = range(4), {"spice": "off"}
    good, bad, references = ({i: of[i] for i in few} for of in (GOOD, BAD, REFERENCES))
    own = dsacap.compare({"one": good, "two": bad}, references, **settings)
    expected = dsacap.score(good, references, **settings)
    assert own.signatures == {metric: score.signature for metric, score in expected.items()}
    settings["document_frequencies"] = "coco-val2014"
    coco = dsacap.compare({"one": good, "two": bad}, references, **settings)
    cider = dsacap.score(good, references, metrics="CIDEr", **settings)["CIDEr"]
    assert coco.signatures["CIDEr"] == cider.signature != own.signatures["CIDEr"]
    assert coco.values["one"]["CIDEr"] == cider.value != own.values["one"]["CIDEr"]


def test_a_caption_too_long_for_spice_costs_spice_only(monkeypatch):
    monkeypatch.setattr(spice, "corenlp_jars", lambda *_, **__: pytest.fail("asked for SPICE"))
    found = dsacap.compare({"one": {**GOOD, 7: "a dog " * 60}, "two": BAD}, REFERENCES)
    assert "SPICE" not in found.values["one"] and "of 120 words" in found.notes[-1]


def test_captions_of_one_system_are_not_several_systems():
    captions = {1: "a dog runs", 2: "two cats"}
    with pytest.raises(UserError, match="these look like the captions of one system"):
        dsacap.compare(captions, {1: ["a dog"], 2: ["cats"]})
