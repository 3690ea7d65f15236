"""`dsacap.score` from Python: the numbers of the command line, without torch."""

import inspect
import json
import subprocess
import sys

import pytest

import dsacap
from dsacap.common.errors import UserError
from dsacap.evaluation import model_metrics
from dsacap.scoring import score as score_module
from dsacap.scoring.java.corenlp import CoreNlpMissing
from dsacap.scoring.metrics.bertscore import NoBertScore
from dsacap.scoring.metrics.coco_metrics import score_captions
from dsacap.scoring.metrics.metric_result import mean_over_images
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
    with pytest.raises(UserError, match="spice: True is unknown; known: 'auto', 'required', 'off'"):
        dsacap.score(PREDICTIONS, REFERENCES, spice=True)
    with pytest.raises(UserError, match=r"how: must be a dsacap\.Reading, not dict"):
        dsacap.score(PREDICTIONS, REFERENCES, spice="off", how={"subset": True})
    with pytest.raises(UserError, match="systems must be a dictionary of captions by name, not li"):
        dsacap.compare([PREDICTIONS, PREDICTIONS], REFERENCES, spice="off")
    with pytest.raises(UserError, match="no prediction for 2 of 3 images"):
        dsacap.score({7: "two cats"}, REFERENCES)
    assert dsacap.score(
        {7: "two cats", "x": "a bird"}, REFERENCES, metrics="BLEU", how=dsacap.Reading(subset=True)
    )


def test_spider_implies_spice_and_cider(monkeypatch):
    def spices(references, _):
        return {"SPICE": mean_over_images({i: i / 10 for i in references})}

    monkeypatch.setattr(score_module, "score_spice", spices)
    scores = dsacap.score(PREDICTIONS, REFERENCES, metrics=["SPIDEr", "SPICE", "CIDEr"])
    assert list(scores) == ["CIDEr", "SPICE", "SPIDEr"]
    expected = {
        i: (scores["SPICE"].per_image[i] + c) / 2 for i, c in scores["CIDEr"].per_image.items()
    }
    assert scores["SPIDEr"].per_image == expected
    alone = dsacap.score(PREDICTIONS, REFERENCES, metrics=["SPIDEr"])
    assert list(alone) == ["SPIDEr"] and alone["SPIDEr"] == scores["SPIDEr"]
    assert "SPIDEr" in dsacap.score(PREDICTIONS, REFERENCES)
    with pytest.raises(UserError, match="metrics: 'SPIDEr' needs SPICE, which spice='off' leaves"):
        dsacap.score(PREDICTIONS, REFERENCES, metrics=["SPIDEr"], spice="off")


def test_spider_without_spice_has_the_reason(monkeypatch):
    def missing(*_):
        raise CoreNlpMissing("SPICE: no parser")

    monkeypatch.setattr(score_module, "score_spice", missing)
    score = dsacap.score(PREDICTIONS, REFERENCES, metrics="SPIDEr")["SPIDEr"]
    assert score.value is None and score.reason == (
        "SPIDEr: not computed, because it is the mean of SPICE and CIDEr."
    )


def test_cider_of_one_image_is_none_with_the_reason_or_by_other_frequencies():
    score = dsacap.score({7: "two cats"}, {7: ["Two cats."]}, metrics=["CIDEr"])["CIDEr"]
    assert score.value is None and "there is one image only" in score.reason
    for corpus in ("coco-val2014", REFERENCES):
        found = dsacap.score(
            {7: "two cats"}, {7: ["Two cats."]}, metrics="CIDEr", document_frequencies=corpus
        )
        assert found["CIDEr"].value > 1 and "|df:test-refs|" not in found["CIDEr"].signature
    with pytest.raises(UserError, match="document frequencies: has one image"):
        dsacap.score(PREDICTIONS, REFERENCES, document_frequencies={1: ["a"]})


def test_domains(tmp_path):
    images = [{"id": i, "domain": f"{'in' if i < 3 else 'out'}-domain"} for i in (1, 2, 3, 4)]
    texts = {1: "A dog runs.", 2: "Two cats.", 3: "A red bird.", 4: "A cow eats."}
    annotations = [{"image_id": i, "caption": text} for i, text in texts.items()]
    path = tmp_path / "nocaps.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    predictions = {1: "a dog", 2: "two cats", 3: "a bird", 4: "a dog"}
    scores = dsacap.score(predictions, path, metrics=["CIDEr", "BLEU"])
    assert list(scores.domains) == ["in-domain", "out-domain"]
    for domain, ids in (("in-domain", (1, 2)), ("out-domain", (3, 4))):
        alone = dsacap.score(
            {i: predictions[i] for i in ids},
            {i: [texts[i]] for i in ids},
            metrics=["CIDEr", "BLEU"],
        )
        assert dict(scores.domains[domain]) == dict(alone)
        assert scores.to_pandas().loc["CIDEr", domain] == alone["CIDEr"].value
    assert not alone.domains and "in-domain" not in alone.to_pandas()


def test_an_empty_reference_is_named_with_its_file(tmp_path):
    path = tmp_path / "refs.json"
    path.write_text(json.dumps({"a.jpg": ["A dog."], "b.jpg": ["", " ... "]}))
    message = r"refs\.json: image 'b\.jpg': no word is left of its references, such as ''"
    with pytest.raises(UserError, match=message):
        dsacap.score({"a.jpg": "a dog", "b.jpg": "a cat"}, path, metrics="BLEU")
    with pytest.raises(UserError, match=r"references: image 'b\.jpg': no word is left"):
        dsacap.score({"b.jpg": "a cat"}, {"b.jpg": "!"}, metrics="BLEU")
    assert dsacap.score({"b.jpg": "@"}, {"b.jpg": "@"}, metrics="BLEU")["BLEU-1"].value > 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dsacap.score(PREDICTIONS, REFERENCES, metrics=5), "metrics: must be a list of na"),
        (lambda: dsacap.score(PREDICTIONS, REFERENCES, metrics=[1]), r"such as \['CIDEr'\], not"),
        (lambda: dsacap.score({1: "a", "1": "b"}, {1: ["a"]}), "'1': is the same image as the key"),
        (lambda: dsacap.Reading(subset="no"), "subset: must be True or False, not 'no'"),
        (lambda: dsacap.Reading(tokenized=None), "tokenized: must be True or False"),
        (lambda: dsacap.Reading(split=5), "split: must be text or None, not 5"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_bertscore_is_computed_where_it_is_asked_for(monkeypatch):
    asked = []

    def missing(model):
        asked.append(model)
        raise NoBertScore("BERTScore: not computed: no weights")

    monkeypatch.setattr(model_metrics, "find_model", missing)
    score = dsacap.score(PREDICTIONS, REFERENCES, metrics=["BERTScore"])["BERTScore"]
    assert score.value is None and score.reason == "BERTScore: not computed: no weights"
    both = dsacap.score(PREDICTIONS, REFERENCES, metrics=["CIDEr"], bertscore="mine:9")
    assert list(both) == ["CIDEr", "BERTScore"] and asked == ["roberta-large", "mine:9"]
    assert "BERTScore" not in dsacap.score(PREDICTIONS, REFERENCES, spice="off")


def test_reading_is_public_and_found_lazily():
    program = "import sys, dsacap; assert 'numpy' not in sys.modules; print(dsacap.Reading)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "<class 'dsacap.evaluation.inputs.Reading'>\n", done.stderr
    assert set(dsacap.__all__) <= set(dir(dsacap))
    with pytest.raises(AttributeError, match="module 'dsacap' has no attribute 'Writing'"):
        _ = dsacap.Writing


def test_the_example_of_the_documentation_runs_and_needs_no_torch():
    text = inspect.getdoc(dsacap.score)
    code = text[text.index("```py") + 5 : text.rindex("```")]
    program = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    program += "\nimport sys; assert 'torch' not in sys.modules; print(scores['CIDEr'].value)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
