"""Predictions and references of the same images."""

import pytest

from dsacap.common.errors import UserError
from dsacap.data.caption_files.forms import captions_of_mapping
from dsacap.data.caption_files.reader import check_references, joined, matched


def test_tokens_have_neither_capitals_nor_full_stops():
    check_references(captions_of_mapping({1: ["a man 's 2-wheeler", "bananas etc."]}, "r"), True)
    for raw in ("A man", "a man.", "a man ?", "a\nman", "a\rman"):
        with pytest.raises(UserError, match=r"is not tokenised.*leave --tokenized out"):
            check_references(captions_of_mapping({1: [raw]}, "r"), tokenized=True)


def test_predictions_are_matched_in_the_order_of_the_references():
    references = captions_of_mapping({1: ["a"], 2: ["b"], 3: ["c"]}, "refs")
    predictions = captions_of_mapping({3: "z", 1: "x"}, "preds")
    with pytest.raises(UserError, match=r"preds: no prediction for 1 of 3 images; first: image 2"):
        matched(predictions, references)
    found = matched(predictions, references, subset=True)
    assert list(found.predictions.items()) == [(1, ["x"]), (3, ["z"])]
    assert (
        list(found.references) == [1, 3]
        and "left out: 1 image without a prediction" in found.notes[0]
    )
    with pytest.raises(UserError, match=r"no references for 1 of 1 predicted image.*image 9"):
        matched(captions_of_mapping({9: "x"}, "preds"), references, subset=True)


def test_file_names_are_matched_only_when_asked_for():
    references = captions_of_mapping({391895: ["a"]}, "refs")
    predictions = captions_of_mapping({"COCO_val2014_000000391895.jpg": "x"}, "preds")
    with pytest.raises(UserError, match="Pass --ids file-names"):
        matched(predictions, references)
    found = matched(predictions, references, ids="file-names")
    assert found.predictions == {391895: ["x"]}
    assert (
        "matched by file names: 1 of 1 id; 'COCO_val2014_000000391895.jpg' is image 391895"
        in (found.notes[0])
    )
    twice = captions_of_mapping({"7.jpg": "x", "7.png": "y"}, "preds")
    with pytest.raises(UserError, match=r"'7\.jpg' and '7\.png' are the same file name"):
        matched(twice, references, ids="file-names")


def test_an_image_in_two_files_is_refused():
    parts = [captions_of_mapping({i: ["a"], 5: ["b"]}, f"r{i}") for i in (1, 2)]
    with pytest.raises(UserError, match="r2: image 5 is in r1 too"):
        joined(parts)


def test_messages_show_long_ids_in_part():
    predictions = captions_of_mapping({"x" * 5000: "a dog"}, "preds")
    with pytest.raises(UserError, match="no references for 1 of 1 predicted image") as error:
        matched(predictions, captions_of_mapping({"y" * 5000: "a dog"}, "refs"))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("predicted", "described"), [("A.JPG", "a.jpg"), ("cafe\u0301.jpg", "caf\u00e9.jpg")]
)
def test_ids_that_look_alike_are_told_apart(predicted, described):
    references = captions_of_mapping({"b.jpg": ["a"], described: ["a"]}, "refs")
    with pytest.raises(UserError) as raised:
        matched(captions_of_mapping({predicted: "x", "b.jpg": "x"}, "preds"), references)
    difference = f"They have {described!a} for {predicted!a}, which differs in"
    assert difference in str(raised.value)
