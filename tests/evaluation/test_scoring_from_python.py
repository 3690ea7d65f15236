"""`dsacap.score` from Python: the numbers of the command line, without torch."""

import inspect
import subprocess
import sys

import pytest

import dsacap
from dsacap.common.errors import UserError
from dsacap.evaluation.inputs import Reading
from dsacap.scoring.metrics.coco_metrics import score_captions
from dsacap.scoring.score import tokenise

REFERENCES = {"a.jpg": ["A red dog runs.", "The dog!"], 7: ["Two cats."], "x": ["Birds", "A bird"]}
PREDICTIONS = {7: "two cats", "x": "a bird flies", "a.jpg": "a dog runs"}


def test_scores_equal_those_of_the_scorer():
    scores = dsacap.score(PREDICTIONS, REFERENCES, spice="off")
    order = {0: "a.jpg", 1: 7, 2: "x"}
    references = tokenise({i: REFERENCES[image] for i, image in order.items()})
    captions = tokenise({i: [PREDICTIONS[image]] for i, image in order.items()})
    expected = score_captions(references, {i: texts[0] for i, texts in captions.items()})
    assert list(scores) == list(expected)
    for metric, result in expected.items():
        assert scores[metric].value == result.corpus
        assert scores[metric].per_image == {order[i]: v for i, v in result.per_image.items()}
        assert metric.split("-")[0] in scores[metric].signature
    low, high = scores["CIDEr"].interval
    assert low <= scores["CIDEr"].value <= high
    chosen = dsacap.score(PREDICTIONS, REFERENCES, metrics=["CIDEr", "BLEU"])
    assert list(chosen) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr"]
    assert all(chosen[metric] == scores[metric] for metric in chosen)


def test_several_captions_have_diversity():
    several = {image: [text, f"{text} again"] for image, text in PREDICTIONS.items()}
    scores = dsacap.score(several, REFERENCES, spice="off")
    assert {"Div-1", "mBLEU-4", "best-of-2 CIDEr"} <= set(scores) and "novel" not in scores
    assert list(dsacap.score(several, REFERENCES, metrics=["Div-1"], spice="off")) == ["Div-1"]


def test_tables():
    scores = dsacap.score(PREDICTIONS, REFERENCES, metrics="CIDEr")
    table = scores.to_pandas()
    assert table.loc["CIDEr", "value"] == scores["CIDEr"].value
    assert table.loc["CIDEr", "images"] == 3
    per_image = scores.to_pandas(per_image=True)
    assert per_image["CIDEr"].to_dict() == scores["CIDEr"].per_image


def test_errors_say_what_is_wrong():
    with pytest.raises(UserError, match=r"metrics: 'CIDER' is not among BLEU-1.*CIDEr"):
        dsacap.score(PREDICTIONS, REFERENCES, metrics=["CIDER"], spice="off")
    with pytest.raises(UserError, match=r"predictions: '7': the caption must be text, not 'None'"):
        dsacap.score({7: None}, REFERENCES)
    with pytest.raises(UserError, match="2 of 3 images have no prediction"):
        dsacap.score({7: "two cats"}, REFERENCES)
    assert dsacap.score(
        {7: "two cats", "x": "a bird"}, REFERENCES, metrics="BLEU", how=Reading(subset=True)
    )


def test_the_example_of_the_documentation_runs_and_needs_no_torch():
    text = inspect.getdoc(dsacap.score)
    code = text[text.index("```py") + 5 : text.rindex("```")]
    program = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    program += "\nimport sys; assert 'torch' not in sys.modules; print(scores['CIDEr'].value)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
