"""Files of captions in every form, and what is wrong with those that are in none."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from dsacap.cli.reading import FORM_NAMES
from dsacap.common.errors import UserError
from dsacap.data.caption_files.forms import FORMS, captions_of_mapping
from dsacap.data.caption_files.reader import (
    check_predictions,
    check_references,
    joined,
    read_captions,
)

CAPTIONS = {7: ["a red ring"], 3: ["two rings, one small"]}
RECORDS = [{"image_id": i, "caption": texts[0]} for i, texts in CAPTIONS.items()]
IMAGES = [{"id": i} for i in CAPTIONS]
# Annotation ids are doubled and say nothing.
ANNOTATIONS = {"images": IMAGES, "annotations": [{"id": 1, **record} for record in RECORDS]}
SENTENCES = [
    {"imgid": n, "cocoid": i, "filename": f"{i}.jpg", "split": "test", "sentences": [{"raw": c[0]}]}
    for n, (i, c) in enumerate(CAPTIONS.items())
]
FILES = {
    "results.json": RECORDS,
    "strings.json": [{**record, "image_id": str(record["image_id"])} for record in RECORDS],
    "floats.json": [{**record, "image_id": float(record["image_id"])} for record in RECORDS],
    "blip.json": [{"image": str(r["image_id"]), "caption": r["caption"], "id": 9} for r in RECORDS],
    "names.json": [{"file_name": r["image_id"], "text": r["caption"]} for r in RECORDS],
    "lists.json": [{**record, "caption": [record["caption"]]} for record in RECORDS],
    "annotations.json": ANNOTATIONS,
    "only_annotations.json": {"annotations": ANNOTATIONS["annotations"]},
    "evaluation.json": {"imgToEval": {str(r["image_id"]): r for r in RECORDS}},
    "dictionary.json": {str(i): texts[0] for i, texts in CAPTIONS.items()},
    "dictionary_of_lists.json": {str(i): texts for i, texts in CAPTIONS.items()},
    "dictionary_of_objects.json": {str(r["image_id"]): [r] for r in RECORDS},
    "karpathy.json": {"images": SENTENCES},
    "textcaps.json": {
        "data": [{"image_id": r["image_id"], "caption_str": r["caption"]} for r in RECORDS]
    },
    "lines.jsonl": "\n".join(json.dumps(record) for record in RECORDS) + "\n\n",
    "table.csv": 'image_id,caption\n7,a red ring\n3,"two rings, one small"\n',
    "crlf.csv": 'id,score,caption\r\n7,1,a red ring\r\n3,2,"two rings, one small"\r\n',
    "unquoted.csv": "image,caption\n7,a red ring\n3,two rings, one small\n",
    "table.tsv": "Image_ID\tCaption\n7\ta red ring\n3\ttwo rings, one small\n",
    "photos.jsonl": "".join(
        json.dumps({"photo": str(r["image_id"]), "captions": [r["caption"]]}) + "\n"
        for r in RECORDS
    ),
    "run.json": {"greedy": {str(i): texts for i, texts in CAPTIONS.items()}},
    "quoted.tsv": 'image_id\tcaption\n7\t"a red ring"\n3\ttwo rings, one small\n',
    "semicolons.csv": "image_id;caption\n7;a red ring\n3;two rings, one small\n",
    "flickr30k.csv": (
        "image_name| comment_number| comment\n7| 0| a red ring\n3| 0| two rings, one small\n"
    ),
    "under_a_key.json": {"model": "ours", "scores": [1, 2], "results": RECORDS},
    "under_data.json": {"data": RECORDS},
    "tokens.txt": "7#0\ta red ring\n3#0\ttwo rings, one small\n",
}


def write(path: Path, data) -> Path:
    text = data if isinstance(data, str) else json.dumps(data)
    path.write_text(text, newline="")
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_form_is_found_out(tmp_path, name):
    path = write(tmp_path / name, FILES[name])
    assert read_captions(path).by_image == CAPTIONS
    assert list(read_captions(path).by_image) == list(CAPTIONS)  # the order of the file


@pytest.mark.parametrize("name", ["results.json", "table.csv", "lines.jsonl", "annotations.json"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_with_a_mark_and_gzip(tmp_path, name, encoding, packed):
    data = write(tmp_path / name, FILES[name]).read_text().encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    assert read_captions(tmp_path / name).by_image == CAPTIONS


def test_what_is_taken_of_an_unusual_file_is_noted(tmp_path):
    path = write(tmp_path / "f", FILES["under_a_key.json"])
    note = "of its keys, 'results' is read, which has the captions"
    assert read_captions(path).notes == [f"{path}: {note}"]
    path = write(tmp_path / "f", FILES["semicolons.csv"])
    assert read_captions(path).notes == [f"{path}: its columns are separated by ';'"]
    of_one_image = {"7": [{"image_id": 7, "caption": "a"}, {"image_id": 7, "caption": "b"}]}
    found = read_captions(write(tmp_path / "f", of_one_image))  # a dictionary, by image
    assert found.by_image == {7: ["a", "b"]} and not found.notes
    with pytest.raises(UserError, match="'a': the caption must be text"):  # which of the two?
        read_captions(write(tmp_path / "f", {"a": [*RECORDS, 1], "b": RECORDS}))


def test_one_line_of_json_is_a_record(tmp_path):
    for record in (
        {"image_id": 7, "caption": "x"},
        {"photo": "7", "captions": ["x"]},
        {"file_name": "7", "text": "x"},
    ):
        assert read_captions(write(tmp_path / "f", record)).by_image == {7: ["x"]}


def test_quotes_are_kept_where_they_are_characters(tmp_path):
    # Flickr30k's results.csv has captions that begin with a quote, and quotes none.
    path = write(tmp_path / "f.csv", 'image_name| comment_number| comment\n7| 0| "A" said he\n')
    assert read_captions(path).by_image == {7: ['"A" said he']}
    # A quote that opens one caption and one that closes another do not join the rows between.
    path = write(tmp_path / "f.tsv", 'image_id\tcaption\n7\t"A ring\n3\ta ring"\n')
    assert read_captions(path).by_image == {7: ['"A ring'], 3: ['a ring"']}
    path = write(tmp_path / "f.tsv", 'image_id\tcaption\n7\tthe "big" one\n3\t"A" said he\n')
    assert read_captions(path).by_image == {7: ['the "big" one'], 3: ['"A" said he']}


def test_an_image_id_is_preferred_to_the_id_of_a_row(tmp_path):
    path = write(tmp_path / "f.csv", "id,image_id,caption\n1,7,x\n")
    assert read_captions(path).by_image == {7: ["x"]}


def test_standard_input_and_pipes_are_read_once(tmp_path, monkeypatch):
    class Input:
        buffer = io.BytesIO(json.dumps(RECORDS).encode())
        isatty = staticmethod(lambda: False)

    monkeypatch.setattr(sys, "stdin", Input)
    found = read_captions(Path("-"))
    assert found.by_image == CAPTIONS and found.name == "standard input" and len(found.sha256) == 64


def test_a_named_form_is_that_form_or_an_error(tmp_path):
    assert set(FORM_NAMES) == set(FORMS)
    path = write(tmp_path / "f.json", FILES["results.json"])
    assert read_captions(path, "coco-results").by_image == CAPTIONS
    for form in FORMS.keys() - {"coco-results"}:
        with pytest.raises(UserError, match=r"f\.json"):
            read_captions(path, form)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "is empty"),
        ("[]", "has no captions"),
        ("{}", "has no captions"),
        ("[1", "1:3: not JSON.*cut off"),
        ('[{"image_id": 1, "caption": "a r', "cut off"),
        ("[][]", "a second value follows the first"),
        ("7", "is of no known form. It begins with '7'"),
        ("7,a ring\n", "needs a first line with names of columns, such as image_id,caption"),
        ("7\ta ring\n", r"such as image_id\\tcaption"),
        ("image_id,caption\n7,8,9,a\n3\n", ":3: has 1 field.*; add the others"),
        ('image_id,caption\n7,"a\n', "not CSV"),
        ("image_id\tcaption\n7\n", ":2: has 1 field"),
        ("id,image_name,caption\n1,a,b\n", "several columns of ids: id, image_name; leave one"),
        ("image_id,text,caption\n1,a,b\n", "several columns of captions: text, caption"),
        ("image_id,caption,caption\n1,a,b\n", "several columns of captions"),
        ('[{"image_id": "a \\ud800", "caption": "a"}]', "half a surrogate pair"),
        ("7#0\ta\n8 b\n", ":2: must be NAME#NUMBER"),
        ('{"image_id": 7, "caption": "a"}\n{"image_id": 8\n', ":2: not a line of JSON"),
        ('{"image_id": 7, "caption": "a"}\n[]\n', ":2: must be a JSON object, not list"),
        ('{"7": "a", "7": "b"}', "the key '7' is repeated"),
        ([{"image_id": 7}], "record 0.*it has the keys image_id"),
        ([{"id": 7, "caption": "a"}], "it has the keys id, caption"),  # may be the annotation's
        ([{"image": "a", "file_name": "b", "text": "a"}], "record 0: which of image, file_name"),
        ([{"image": "a", "text": "b", "comment": "a"}], "record 0: which of comment, text"),
        ({"image_id": [7, 3], "caption": ["a", "b"]}, "holds several ids.*orient='records'"),
        ({"image_id": {"0": 7}, "caption": {"0": "a"}}, "holds several ids.*orient='records'"),
        ({"7": "a", "7.0": "b"}, "'7.0': is the same image as the key '7'; remove one"),
        ({"imgToEval": {"7": {"caption": "a"}, " 7": {"caption": "b"}}}, "' 7': is the same image"),
        ({"7": []}, "'7': the list of captions is empty"),
        (["a"], "record 0.*it is not an object"),
        ([{"image_id": 7, "caption": None}], r"record 0 \(image 7\): the caption must be text"),
        ('[{"image_id": 7, "caption": NaN}]', "must be text, not 'nan'"),
        ([{"image_id": True, "caption": "a"}], "the id must be a whole number or text"),
        ([{"image_id": 7.5, "caption": "a"}], "the id must be a whole number or text"),
        ('[{"image_id": 1e300, "caption": "a"}]', "holds no id of this size exactly"),
        ('[{"image_id": 9007199254740993.0, "caption": "a"}]', "holds no id of this size exactly"),
        ('[{"image_id": %s, "caption": "a"}]' % ("9" * 5000), "a number has too many digits$"),
        ("[" * 100_000, "its lists or objects are nested too deeply$"),
        ('image_id,caption\n7,"A" ring\n', "quote a caption that has quotes, and double those"),
        ([{"image_id": "", "caption": "a"}], "the id must be a whole number or text"),
        ({"images": [{"id": 1}, {"id": "1"}], "annotations": []}, "image id 1 is repeated"),
        (
            {"images": IMAGES, "annotations": [{"image_id": 9, "caption": "a"}]},
            "image 9, which is not among the images",
        ),
        ({"images": [{"id": 1}]}, "has no sentences"),
        ({"images": [{**SENTENCES[0], "filename": "\ud800"}]}, r"images\[0\]: filename: .*half a"),
        ({"annotations": {"image_id": 1, "caption": "a"}}, "needs a list 'annotations'"),
        ({"data": [{"image_id": 1}]}, "the caption must be text"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, data, message):
    path = write(tmp_path / "wrong", data)
    with pytest.raises(UserError, match=message) as error:
        read_captions(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"image_id": 7, "caption": "caf\xe9"}]', "not UTF-8 text; if the file is Latin-1"),
        (b"\x1f\x8b\x08broken", "gzip data that cannot be unpacked"),
        (b"PK\x03\x04rest", "a zip archive, not text; unpack it"),
        (b"\x80\x04\x95rest", "a pickle"),
        (b"[1, \0]", "NUL"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, data, message):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_captions(tmp_path / "f")


def test_no_file_or_a_folder(tmp_path):
    with pytest.raises(UserError, match="absent: no such file"):
        read_captions(tmp_path / "absent")
    with pytest.raises(UserError, match="is a folder"):
        read_captions(tmp_path)


def test_captions_that_are_left_out_are_counted(tmp_path):
    """VizWiz marks captions; images may have none; distributed evaluation repeats some."""
    marked = [{"image_id": 7, "caption": "x", "is_rejected": True}] * 2
    marked += [{"image_id": 3, "caption": "x", "is_precanned": True}]
    data = {
        "images": [*IMAGES, {"id": 9}],
        "annotations": [*ANNOTATIONS["annotations"], *marked],
    }
    found = read_captions(write(tmp_path / "f.json", data))
    assert found.by_image == CAPTIONS
    assert found.notes == [
        "left out: 2 captions marked rejected",
        "left out: 1 caption marked precanned",
        "left out: 1 image without captions; first: 9",
    ]
    doubled = write(tmp_path / "d.json", [*RECORDS, RECORDS[0]])
    with pytest.raises(UserError, match=r"image 3 has 1 caption, image 7 has 2.*--duplicates f"):
        check_predictions(read_captions(doubled))
    found = check_predictions(read_captions(doubled), "first")
    assert found.by_image == CAPTIONS and "1 further caption of" in found.notes[0]


def test_a_split_is_chosen(tmp_path):
    images = [*SENTENCES, {**SENTENCES[0], "cocoid": 8, "split": "restval"}]
    path = write(tmp_path / "k.json", {"images": images})
    assert read_captions(path, part="test").by_image == CAPTIONS
    assert read_captions(path, part="test").file_names == {7: "7.jpg", 3: "3.jpg"}
    with pytest.raises(UserError, match=r"has no split 'val'; it has restval \(1 image\), test"):
        read_captions(path, part="val")
    with pytest.raises(UserError, match=r"choose one by --split .*: restval \(1 image\), test \(2"):
        check_references(read_captions(path))
    plain = captions_of_mapping({11: ["x"]}, "plain")
    with pytest.raises(UserError, match=r"choose one by --split .*: restval"):
        check_references(joined([plain, read_captions(path)]))
    found = read_captions(write(tmp_path / "r.json", RECORDS), part="test")
    assert "has no parts, so 'test' was not chosen" in found.notes[0]


def test_a_decoding_of_a_run_is_chosen(tmp_path):
    captions = {str(i): texts for i, texts in CAPTIONS.items()}
    path = write(tmp_path / "run.json", {"greedy": captions, "T=1": {"7": ["x", "y"]}})
    assert read_captions(path, part="greedy").by_image == CAPTIONS
    assert read_captions(path, part="T=1").by_image == {7: ["x", "y"]}
    with pytest.raises(
        UserError, match=r"choose one by --decoding .*: T=1 \(1 image\), greedy \(2"
    ):
        check_predictions(read_captions(path))
    with pytest.raises(UserError, match="has no decoding 'beam'"):
        read_captions(path, part="beam")
