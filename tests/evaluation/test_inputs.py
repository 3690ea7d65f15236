"""Inputs of public trouble reports, each with the CIDEr that pycocoevalcap gives, or an error."""

import json

import pytest

from dsacap.common.errors import UserError
from dsacap.evaluation import inputs as inputs_module
from dsacap.evaluation.inputs import Inputs, Reading, load_inputs
from dsacap.scoring.metrics.coco_metrics import score_without_java
from dsacap.scoring.score import tokenise

BASE, REFERENCES = "base/preds.json", "base/refs.json"
KARPATHY = "karpathy_references/dataset_flickr8k.json"
NAMES = Reading(ids="file-names")

# (predictions, references, how, CIDEr x 100)
SCORED = [
    (BASE, REFERENCES, None, 180.24),
    ("dict_forms/candidates.json", REFERENCES, None, 180.24),
    ("dict_forms/res.json", REFERENCES, None, 180.24),
    ("dict_forms/res_list_caption.json", REFERENCES, None, 180.24),
    (BASE, "dict_forms/gts.json", None, 180.24),
    (BASE, "lavis_gt_no_file_name/coco_karpathy_test_gt.json", None, 180.24),
    (BASE, "doubled_annotation_ids/refs.json", None, 180.24),
    (BASE, "formats/refs.json.gz", None, 180.24),
    (BASE, "formats/refs_bom.json", None, 180.24),
    (BASE, "vizwiz/val.json", None, 180.24),
    ("formats/preds.csv", REFERENCES, None, 180.24),
    ("formats/preds.jsonl", REFERENCES, None, 180.24),
    ("formats/preds.json.gz", REFERENCES, None, 180.24),
    ("formats/preds_bom.json", REFERENCES, None, 180.24),
    ("formats/preds_crlf.json", REFERENCES, None, 180.24),
    ("formats/preds_utf16.json", REFERENCES, None, 180.24),
    ("order_minimal/preds.json", "order_minimal/refs.json", None, 455.30),
    ("order_minimal/preds_reordered.json", "order_minimal/refs.json", None, 455.30),
    ("huge_ids/preds.json", "huge_ids/refs.json", None, 197.22),
    ("huge_ids/preds_aic.json", "huge_ids/refs_aic.json", None, 197.22),
    ("string_ids/preds.json", "string_ids/refs.json", None, 180.24),
    ("string_ids/preds_float.json", "string_ids/refs.json", None, 180.24),
    ("string_ids/preds_filename.json", "string_ids/refs.json", NAMES, 180.24),
    ("string_ids/preds_flickr30k.json", "string_ids/refs_flickr30k.json", None, 197.22),
    ("result_kinds/lavis_results.json", REFERENCES, None, 180.24),
    ("result_kinds/lavis_instance.json", REFERENCES, NAMES, 180.24),
    ("result_kinds/eval_results.json", REFERENCES, None, 180.24),
    ("result_kinds/res_as_annotations.json", REFERENCES, None, 180.24),
    ("result_kinds/vis.json", REFERENCES, None, 180.24),
    (BASE, "karpathy_references/Flickr8k.token.txt", NAMES, 180.24),
    (BASE, "karpathy_references/captions.txt", NAMES, 180.24),
    ("special_tokens/preds.json", "special_tokens/refs.json", None, 162.10),
    ("special_tokens/preds_eot.json", "special_tokens/refs.json", None, 103.27),
    ("special_tokens/preds_llm.json", "special_tokens/refs.json", None, 23.08),
]
REFUSED = [
    ("dict_forms/clip_candidates.json", REFERENCES, None, "Are these the right references?"),
    (BASE, "dict_forms/gts.json", Reading(tokenized=True), "leave --tokenized out"),
    ("formats/preds.tsv", REFERENCES, None, "needs a first line with names of columns"),
    ("formats/preds_cut.json", REFERENCES, None, "may have been cut off"),
    ("formats/preds_latin1.json", REFERENCES, None, "iconv"),
    ("formats/preds_two_docs.json", REFERENCES, None, "a second value follows the first"),
    ("string_ids/preds_filename.json", REFERENCES, None, "Pass --ids file-names"),
    ("result_kinds/nan.json", REFERENCES, None, "the caption must be text"),
    ("result_kinds/null_caption.json", REFERENCES, None, "the caption must be text"),
    ("result_kinds/pred_text.json", REFERENCES, None, "it has the keys image_id, prediction"),
    ("result_kinds/swapped.json", REFERENCES, None, "it has the keys id, caption"),
    ("karpathy_references/preds.json", KARPATHY, None, "choose one by --split"),
]


def cider(inputs: Inputs) -> float:
    firsts = {i: captions[0] for i, captions in tokenise(inputs.captions).items()}
    return 100 * score_without_java(tokenise(inputs.references), firsts)["CIDEr"].corpus


@pytest.mark.parametrize(("predictions", "references", "how", "score"), SCORED)
def test_known_inputs_get_the_right_number(real_data, predictions, references, how, score):
    folder = real_data / "scorer"
    inputs = load_inputs(folder / predictions, folder / references, how)
    assert cider(inputs) == pytest.approx(score, abs=0.005)


@pytest.mark.parametrize(("predictions", "references", "how", "message"), REFUSED)
def test_known_inputs_get_one_sentence(real_data, predictions, references, how, message):
    folder = real_data / "scorer"
    with pytest.raises(UserError) as error:
        load_inputs(folder / predictions, folder / references, how)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_may_be_a_mistake_is_noted(real_data):
    folder = real_data / "scorer"
    inputs = load_inputs(folder / "special_tokens/preds.json", folder / "special_tokens/refs.json")
    assert any("special tokens" in note and "<start>" in note for note in inputs.notes)
    inputs = load_inputs(folder / BASE, folder / "vizwiz/val.json")
    assert "left out: 4 captions marked rejected" in inputs.notes


CAPTIONS = {"b.jpg": ["A dog runs.", "A dog."], "a.jpg": ["Two cats"], 10**30: ["A bird"]}


def test_karpathys_images_are_matched_by_their_file_names(tmp_path):
    """Their numbers are no file names: imgid 1 may be 2.jpg."""
    images = [
        {
            "imgid": n,
            "filename": f"{3 - n}.jpg",
            "split": "test",
            "sentences": [{"raw": f"dog {n}"}],
        }
        for n in (1, 2)
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": images}))
    inputs = load_inputs(
        {"1.jpg": "x", "2.jpg": "y"}, path, Reading(split="test", ids="file-names")
    )
    assert inputs.references == {2: ["dog 1"], 1: ["dog 2"]}
    assert inputs.captions == {2: ["y"], 1: ["x"]} and inputs.file_names == {2: "2.jpg", 1: "1.jpg"}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], {1: ["x"]}, "predictions: must be a dictionary by image id or a file, not list"),
        ({1: "x"}, [], "references: none are given"),
        ({1: "x"}, None, "references: must be a dictionary by image id or a file, not NoneType"),
    ],
)
def test_other_types_are_named(predictions, references, message):
    with pytest.raises(UserError, match=message):
        load_inputs(predictions, references)


def test_misspelt_ways_of_reading_are_refused():
    with pytest.raises(UserError, match="ids: 'filenames' is unknown; known: 'as-given', 'file-na"):
        Reading(ids="filenames")
    with pytest.raises(UserError, match="form: 'coco' is unknown"):
        Reading(form="coco")


def test_dictionaries_with_any_ids_are_numbered_in_the_order_of_the_references():
    predictions = {10**30: "a bird", "a.jpg": "a cat", "b.jpg": "a dog"}
    inputs = load_inputs(predictions, CAPTIONS)
    assert inputs.images == {0: "b.jpg", 1: "a.jpg", 2: 10**30}
    assert inputs.captions == {0: ["a dog"], 1: ["a cat"], 2: ["a bird"]}
    assert inputs.references == {0: CAPTIONS["b.jpg"], 1: CAPTIONS["a.jpg"], 2: ["A bird"]}


def test_images_with_numbers_keep_them():
    inputs = load_inputs({7: "a", 3: "b"}, {3: ["x"], 7: ["y"]})
    assert inputs.images == {3: 3, 7: 7} and inputs.captions == {3: ["b"], 7: ["a"]}


def test_file_names_and_groups_follow_their_images(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "domain": "near"} for i in ("x1", "x2")]
    annotations = [{"image_id": i, "caption": "A dog."} for i in ("x1", "x2")]
    path = tmp_path / "nocaps.json"
    path.write_text(str({"images": images, "annotations": annotations}).replace("'", '"'))
    inputs = load_inputs({"x2": "a dog"}, path, Reading(subset=True))
    assert inputs.file_names == {0: "x2.jpg"} and inputs.groups == {0: "near"}


def test_an_image_without_words_in_its_references_is_refused():
    """No score is defined for it, so `validate` must say the same as `score`."""
    for bare, how in ([" ...", "-!"], None), (["", " \x85"], Reading(tokenized=True)):
        with pytest.raises(UserError, match=r"references: image 2: no word is left .*leave the"):
            load_inputs({1: "x", 2: "y"}, {1: ["x"], 2: bare}, how)
        load_inputs({1: "x", 2: "y"}, {1: ["x"], 2: [*bare, "y"]}, how)
    load_inputs({2: "y"}, {2: ["一个男人"]})  # words, if not English ones


def test_references_in_another_script_are_tokenised_by_one_process(monkeypatch):
    calls = []
    tokenise = inputs_module.ptb_tokenize
    monkeypatch.setattr(
        inputs_module, "ptb_tokenize", lambda texts: calls.append(len(texts)) or tokenise(texts)
    )
    load_inputs({i: "男人" for i in range(5)}, {i: ["一个男人", "男人"] for i in range(5)})
    assert calls.count(10) == 1 and sum(calls) == 10


def test_several_captions_an_image_are_noted_with_what_they_are_for():
    several = {1: ["a dog", "a dog"], 2: ["a cat", "a cat"]}
    notes = load_inputs(several, {1: "A dog.", 2: "A cat."}).notes
    assert any("2 captions for each image: quality is that of the first" in note for note in notes)
    kept = load_inputs(several, {1: "A dog.", 2: "A cat."}, Reading(duplicates="first")).notes
    assert not any("captions for each image" in note for note in kept)


def test_missing_captions_of_a_table_are_noted(tmp_path):
    for text, what in (("", "is empty"), ("nan", "write for a missing one")):
        (tmp_path / "p.csv").write_text(f"image_id,caption\n1,{text}\n2,{text}\n")
        notes = load_inputs(tmp_path / "p.csv", {1: "A dog.", 2: "A cat."}).notes
        assert any(what in note and "2 images have" in note for note in notes)
