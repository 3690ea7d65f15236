"""`dsacap validate`: every kind of file that it knows, usable and unusable."""

import io
import json
import os
import zipfile

import pytest

from dsacap.cli.main import main
from dsacap.cli.validate import validate
from dsacap.common.errors import UserError
from dsacap.evaluation.inputs import Reading, load_references
from helpers import noise_photo

PREDICTIONS = [{"image_id": 1, "caption": "a red ring"}, {"image_id": 2, "caption": "two rings"}]


@pytest.fixture
def write(tmp_path):
    def of(name, data):
        path = tmp_path / name
        path.write_text(json.dumps(data))
        return path

    return of


def annotations(*ids):
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids],
        "annotations": [{"id": i, "image_id": i, "caption": "A ring."} for i in ids],
    }


def of(paths):
    return load_references(paths, Reading())


def test_predictions_are_counted(write):
    report = validate(write("p.json", PREDICTIONS))
    assert report.startswith(
        "COCO results: 2 images, 1 caption each, 2.5 words on average, 2 different captions"
    )
    assert "give --references" in report


def test_predictions_are_compared_with_references(write):
    path = write("p.json", PREDICTIONS)
    assert "every image of the references" in validate(
        path, of([write("r.json", annotations(1, 2))])
    )
    with pytest.raises(UserError, match=r"no prediction for 1 of 3 images; first: image 3"):
        validate(path, of([write("r.json", annotations(1, 2, 3))]))
    with pytest.raises(UserError, match=r"no references for 1 of 2 predicted images; first: im"):
        validate(path, of([write("r.json", annotations(1))]))


def test_a_part_of_the_images_needs_its_option(write, capsys):
    path, references = write("p.json", PREDICTIONS), write("r.json", annotations(1, 2, 3))
    given = ["validate", str(path), "--references", str(references)]
    assert main(given) == 1
    assert "no prediction for 1 of 3 images" in capsys.readouterr().err
    assert main([*given, "--subset"]) == 0
    out = capsys.readouterr().out
    assert "left out: 1 image without a prediction" in out
    assert "some images of the references have captions, and no other image has" in out


def test_references_from_a_pipe_are_read_once_for_all_files(write, capsys, monkeypatch):
    references = json.dumps(annotations(1, 2)).encode()
    files = [str(write(name, PREDICTIONS)) for name in ("p.json", "q.json")]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(references)))
    assert main(["validate", *files, "--references", "-"]) == 0
    whole = "every image of the references has captions, and no other image has"
    assert capsys.readouterr().out.count(whole) == 2
    assert main(["validate", "-", "--references", "-"]) == 1
    assert "standard input is named twice" in capsys.readouterr().err


def test_the_split_is_that_of_the_references(write, capsys):
    images = [
        {"cocoid": i, "split": split, "sentences": [{"raw": "A ring."}]}
        for i, split in ((1, "test"), (2, "test"), (3, "train"))
    ]
    path, references = write("p.json", PREDICTIONS), write("k.json", {"images": images})
    given = ["validate", str(path), "--references", str(references), "--split", "test"]
    assert main(given) == 0
    assert "not chosen" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("caption", "what"),
    [
        (" ", "is empty"),
        ("a\u2028b", "line break"),
        ("a\nb", "line break"),
        ("a <unk> ring", "special token"),
    ],
)
def test_probable_mistakes_are_noted(write, caption, what):
    report = validate(write("p.json", [*PREDICTIONS, {"image_id": 77, "caption": caption}]))
    assert what in report and "77" in report
    assert "note" not in validate(write("p.json", PREDICTIONS))


def test_what_spice_cannot_parse_is_noted_for_captions_and_references(write):
    """As `score` counts words: punctuation does not count, and "don't" is two."""
    long = {"fits": "a dog, " * 50, "two": "don't " * 51, "long": "a dog " * 60}
    notes = {}
    for name, caption in long.items():
        path = write("p.json", [{"image_id": 1, "caption": caption}, PREDICTIONS[1]])
        references = annotations(1, 2)
        references["annotations"][1]["caption"] = caption
        both = write("r.json", references)
        notes[name] = (
            validate(path),
            validate(write("q.json", PREDICTIONS), of([both])),
            validate(both),
        )
    assert not any("SPICE" in report for report in notes["fits"])
    for name in ("two", "long"):
        for report, noted in zip(
            notes[name],
            (f"1 {what} of more than 100 words" for what in ("caption", "reference", "caption")),
            strict=True,
        ):
            assert f"note: {noted}, which SPICE cannot parse; its score is n/a" in report
    assert ": image 1" in notes["long"][0] and ": image 2" in notes["long"][1]
    second = [*PREDICTIONS, *({"image_id": i, "caption": "a dog " * 60} for i in (1, 2))]
    references = write("r.json", annotations(1, 2))
    assert "SPICE" not in validate(write("p.json", second), of([references]))  # the first is scored


def test_other_kinds_of_captions_are_known(write):
    assert validate(write("a.json", annotations(5, 6))).startswith(
        "COCO annotations: 2 images, 1 caption each"
    )
    assert validate(write("t.json", {"5": ["a ring", "two rings"]})).startswith(
        "a dictionary: 1 image, 2 captions each"
    )
    images = [
        {"filename": f"{i}.jpg", "imgid": i, "split": s, "sentences": [{"raw": "A ring."}]}
        for i, s in enumerate(["train", "restval", "test"])
    ]
    report = validate(write("k.json", {"images": images}))
    assert report.startswith("Karpathy's splits: 3 images, 1 caption each")
    assert "restval (1 image), test (1 image), train (1 image)" in report
    with pytest.raises(UserError, match=r"x.json: 'captions': the caption must be text, not '3'"):
        validate(write("x.json", {"captions": 3}))


def test_a_configuration_is_read():
    from pathlib import Path

    assert (
        validate(Path("config/smoke.yaml"))
        == "a configuration of 4 systems in 4 trainings, 8 rows a seed"
    )


def test_photos_are_decoded(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        noise_photo((32, 24), 50).save(tmp_path / "photos" / f"{name}.png")
    assert validate(tmp_path / "photos") == "2 usable photos; of 32 x 24 pixels: 2"
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(tmp_path / "photos" / "a.png", "train/a.png")
        archive.writestr("train/torn.png", (tmp_path / "photos" / "b.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"unusable: 1 of 2 photos\n  train/torn.png: truncated"):
        validate(tmp_path / "photos.zip")


def test_what_is_no_photo_is_named_and_what_cannot_be_used_is_counted(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = noise_photo((32, 24), 50)
    for name, kind in {"a.png": "png", "b": "jpeg", "c.avif": "avif"}.items():
        photo.save(folder / name, kind)
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / ".DS_Store").touch()
    (folder / "loop").symlink_to(".")
    assert validate(folder).splitlines() == [
        "3 usable photos; of 32 x 24 pixels: 3",
        "note: 1 left out as no photo: Thumbs.db",
        "note: 1 left out as hidden: .DS_Store",
        "note: 1 left out as a folder that is read under another name: loop",
    ]
    (folder / "gone").symlink_to("nowhere")
    (folder / "z.jpeg").write_bytes(b"")
    with pytest.raises(UserError) as error:
        validate(folder)
    assert str(error.value).splitlines()[:4] == [
        f"{folder}: unusable: 2 of 5 photos",
        f"  {folder}: cannot read 'gone' (a link to a file that does not exist); fetch the photos"
        " again",
        "  z.jpeg: empty file (0 bytes); fetch it again",
        "  1 left out as no photo: Thumbs.db",
    ]


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(UserError, match=r"no photos in it\n  1 left out as no photo: Thumbs\.db"):
        validate(tmp_path)


def test_a_zip_is_known_by_its_content(tmp_path):
    noise_photo((32, 24), 50).save(tmp_path / "a.png")
    for name in ("PHOTOS.ZIP", "download"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "a.png", "a.png")
        assert validate(tmp_path / name).startswith("1 usable photo;")


def test_names_that_are_not_utf8_are_reported(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise_photo((32, 24), 50).save(folder / "a.png")
    (folder / os.fsdecode(b"\xff.txt")).touch()
    assert main(["validate", str(folder)]) == 0
    assert "left out as no photo: \ufffd.txt" in capsys.readouterr().out


def test_the_photos_of_the_survey(real_data):
    with pytest.raises(UserError, match=r"unusable: 2 of 6 photos\n  IMG_0001\.HEIC: "):
        validate(real_data / "scorer" / "photos" / "mixed")


def test_all_files_are_checked_even_if_the_first_is_bad(write, capsys):
    good, bad = write("p.json", PREDICTIONS), write("b.json", [{"image_id": True, "caption": "a"}])
    assert main(["validate", str(bad), str(good)]) == 1
    out, err = capsys.readouterr()
    assert "2 images" in out and "b.json: record 0: the id must be a whole number or text" in err
    assert main(["validate", str(good)]) == 0
