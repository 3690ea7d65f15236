import json
from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from dsacap.data.predictions import matched, read_predictions, read_references


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def records(*pairs):
    return [{"image_id": i, "caption": c} for i, c in pairs]


def test_one_caption_for_each_image_or_several(tmp_path):
    path = tmp_path / "p.json"
    assert read_predictions(write(path, records((3, "a dog"), (1, "")))) == {3: ["a dog"], 1: [""]}
    long = "a dog and " * 3000  # the same limit as for references: none
    assert read_predictions(write(path, records((3, long)))) == {3: [long]}
    assert read_references([write(path, {"3": [long]})], tokenized=True)[0] == {3: [long]}
    assert read_predictions(write(path, records((3, "a"), (1, "b"), (3, "c"), (1, "d")))) == {
        3: ["a", "c"],
        1: ["b", "d"],
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"3": "a dog"}, "must be a list"),
        ([], "no predictions"),
        ("[", "not JSON"),
        (["a dog"], "record 0"),
        ([{"image_id": 3}], "record 0"),
        (records((3, "a"), ("4", "b")), "record 1: image_id must be a whole number, not '4'"),
        (records((3, "a"), (True, "b")), "record 1: image_id"),
        ('[{"image_id": NaN, "caption": "a"}]', "not nan"),
        (
            '[{"image_id": 3, "caption": NaN}]',
            r"record 0 \(image 3\): the caption must be a string, not nan",
        ),
        (records((3, None)), "must be a string, not None"),
        (records((3, "a"), (4, "b"), (3, "c")), "image 4 has 1 captions, image 3 has 2"),
    ],
)
def test_malformed_predictions_are_refused_with_the_file_name(tmp_path, data, message):
    with pytest.raises(UserError, match=message) as error:
        read_predictions(write(tmp_path / "p.json", data))
    assert str(tmp_path / "p.json") in str(error.value)


def test_references_in_coco_format_or_tokenised(tmp_path):
    coco = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "annotations": [
            {"id": 5, "image_id": 1, "caption": "A dog."},
            {"id": 4, "image_id": 1, "caption": "Dog"},
            {"id": 6, "image_id": 2, "caption": "x"},
        ],
    }
    path = write(tmp_path / "r.json", coco)
    assert read_references([path], tokenized=False) == (
        {1: ["Dog", "A dog."], 2: ["x"]},
        {1: "1.jpg", 2: "2.jpg"},
    )
    path = write(tmp_path / "t.json", {"1": ["a dog", "dog"], "2": ["x"]})
    assert read_references([path], tokenized=True) == ({1: ["a dog", "dog"], 2: ["x"]}, {})
    with pytest.raises(UserError, match="image id 1 occurs twice"):
        read_references([path, path], tokenized=True)
    with pytest.raises(UserError, match="'1' must be an image id with a list"):
        read_references([write(path, {"1": "a dog"})], tokenized=True)
    with pytest.raises(UserError, match="images"):
        read_references([path], tokenized=False)


def test_predictions_must_match_the_references():
    references = {1: ["a"], 2: ["b"], 3: ["c"]}
    with pytest.raises(UserError, match=r"captions\.json: 1 predicted images.*first: image 9"):
        matched(Path("captions.json"), {9: ["x"], 1: ["y"]}, references, subset=True)
    with pytest.raises(
        UserError, match=r"1 of 3 images have no prediction; first: image 3.*--subset"
    ):
        matched(Path("captions.json"), {2: ["x"], 1: ["y"]}, references, subset=False)
    assert matched(Path("captions.json"), {2: ["x"], 1: ["y"]}, references, subset=True) == {
        2: ["b"],
        1: ["a"],
    }
