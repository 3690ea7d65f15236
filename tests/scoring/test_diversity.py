import json

import pytest

from dsacap.errors import UserError
from dsacap.scoring.diversity import diversity
from dsacap.scoring.tokenizer import ptb_tokenize

SAMPLES = {4: ["a red dog", "a red cat"], 9: ["two birds", "two birds"]}


def test_by_hand():
    results = diversity(SAMPLES, train_captions={"a red dog", "two"})
    # image 4: {a, red, dog, cat} and {a red, red dog, red cat} of 6 words; image 9: {two, birds} and {two birds} of 4
    assert results["Div-1"].per_image == {4: 4 / 6, 9: 2 / 4}
    assert results["Div-2"].per_image == {4: 3 / 6, 9: 1 / 4}
    assert results["unique"].per_image == {4: 2, 9: 1}
    assert results["novel"].per_image == {4: 0.5, 9: 1}
    corpus = {"Div-1": 7 / 12, "Div-2": 3 / 8, "unique": 1.5, "novel": 0.75, "vocabulary": 6}
    assert {name: results[name].corpus for name in corpus} == pytest.approx(corpus)
    assert results["mBLEU-4"].per_image == results["vocabulary"].per_image == {}


def test_mbleu_by_hand():
    same, half = ["a red dog runs here"] * 3, ["a red dog runs here", "a red dog runs away", "no word in common"]
    assert diversity({1: same, 2: same}, set())["mBLEU-4"].corpus == pytest.approx(1)
    # slots 0 and 1 share 4 of 5, 3 of 4, 2 of 3 and 1 of 2 n-grams with each other; slot 2 shares none
    assert diversity({1: half}, set())["mBLEU-4"].corpus == pytest.approx(2 / 3 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4))


def test_empty_captions_have_no_diversity():
    results = diversity({1: ["", ""], 2: ["a cat", ""]}, set())
    assert results["Div-1"].per_image == {1: 0, 2: 1}
    assert results["Div-2"].per_image == {1: 0, 2: 0.5}
    assert results["mBLEU-4"].corpus == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({}, "there is no image"),
        ({1: ["a cat"], 2: ["a dog"]}, "needs two or more, image 1 has 1"),
        ({1: ["a cat", "a dog"], 2: ["a dog"]}, "image 2 has 1 captions, image 1 has 2"),
    ],
)
def test_guards(samples, message):
    with pytest.raises(UserError, match=message):
        diversity(samples, set())


def test_blip_and_humans_score_as_published(real_data):
    """Six captions an image: BLIP's and the five of people."""
    images = json.loads((real_data / "diversity" / "blip_and_5_humans.json").read_text(encoding="utf-8"))["imgblobs"]
    raw = [c["text"] for image in images for c in (image["candidate"], *image["candidatelist"])]
    tokenised = ptb_tokenize(raw)
    results = diversity({i: tokenised[6 * i : 6 * i + 6] for i in range(len(images))}, set())
    assert len(tokenised) == 6 * len(images) == 30_000
    published = {"Div-1": 0.4774, "Div-2": 0.6926, "vocabulary": 7371}
    assert {name: round(results[name].corpus, 4) for name in published} == published
    assert round(results["mBLEU-4"].corpus, 8) == 0.26543623
