"""`dsacap compare` as a user types it."""

import pandas as pd
import pytest

from dsacap.common.files import read_json
from score_fixtures import run

pytestmark = pytest.mark.usefixtures("no_corenlp")


def test_compare_shows_effect_interval_p_and_the_images(files, capsys):
    _, predictions, references, write = files
    other = write(
        "other.json",
        [
            {"image_id": i, "caption": c}
            for i, c in {1: "a red dog", 2: "a cat sleeps", 3: "two birds"}.items()
        ],
    )
    assert run("compare", other, predictions, "--references", references) == 0
    printed = capsys.readouterr().out
    cider = next(line.split() for line in printed.splitlines() if line.split()[:1] == ["CIDEr"])
    assert cider[1:3] == ["other", "predictions"] and float(cider[3]) > 0
    assert 0 < float(cider[-2]) <= float(cider[-1]) <= 1
    assert "image 2" in printed and "a cat sleeps" in printed and "a dog sleeps" in printed
    assert "the same CIDEr on 1 of 3" in printed
    assert "other: the highest CIDEr on 2 of 3 images" in printed
    assert "predictions: the highest CIDEr on 0 of 3 images" in printed
    assert [printed.count(f"image {i}\n") for i in (1, 2, 3)] == [0, 1, 1]
    assert "Scores are x100" in printed and "  CIDEr-D|df:test-refs|n:4|sigma:6\n" in printed
    same = write("same.json", read_json(predictions))
    assert run("compare", predictions, same, "--references", references) == 0
    assert "+0.00 .. +0.00  1.0000" in capsys.readouterr().out


def test_compare_takes_any_number_of_files_and_writes_tables(files, capsys):
    folder, predictions, references, write = files
    others = [write(f"{name}.json", read_json(predictions)) for name in ("b", "c")]
    written = {name: folder / f"out.{name}" for name in ("json", "csv", "latex")}
    outputs = [word for name, path in written.items() for word in (f"--{name}", path)]
    command = ("compare", predictions, *others, "--references", references, *outputs)
    assert run(*command) == 0
    parts = read_json(written["json"])
    assert list(parts["values"]) == ["predictions", "b", "c"]
    assert parts["ranks"]["c"]["CIDEr"] == 1  # tied
    table = pd.read_csv(written["csv"])
    assert len(table) == 3 * len(parts["values"]["b"]) and (table["p_holm"] == 1).all()
    assert "predictions &" in written["latex"].read_text()
    assert run("compare", predictions, predictions, "--references", references) == 1
    assert "is named twice" in capsys.readouterr().err
    before = predictions.read_bytes()
    assert run(*command[:-1], predictions) == 1
    assert "write to another file" in capsys.readouterr().err and predictions.read_bytes() == before


def test_compared_files_must_be_of_the_same_images(files, capsys):
    _, predictions, references, write = files
    part = write("part.json", [{"image_id": i, "caption": "a dog"} for i in (1, 2)])
    assert run("compare", predictions, part, "--references", references) == 1
    assert "part.json: no prediction for 1 of 3 images" in capsys.readouterr().err


def test_compare_writes_a_page_signatures_and_notes(files, capsys):
    folder, predictions, references, write = files
    other = write("b.json", [{"image_id": i, "caption": "a red dog"} for i in (1, 2, 3)])
    given = ("compare", predictions, other, "--references", references, "--no-spice")
    page = folder / "page.html"
    frequencies = ("--document-frequencies", "coco-val2014")
    assert run(*given, *frequencies, "--json", folder / "c.json", "--html", page) == 0
    parts = read_json(folder / "c.json")
    assert parts["signatures"].keys() == parts["values"]["b"].keys()
    assert "|df:coco-val2014@sha256:" in parts["signatures"]["CIDEr"]
    assert f"{other}: COCO results, 3 images, 3 captions" in parts["notes"]
    assert "<h3>Image 2</h3>" in page.read_text() and "<h3>Image 1</h3>" not in page.read_text()
    assert capsys.readouterr().err.endswith(f"wrote {folder / 'c.json'}, {page}\n")
    assert run(*given, "--photos", folder) == 1
    assert "--photos: are shown on the page only; give --html" in capsys.readouterr().err
    assert run(*given, "--html", page, "--photos", folder / "none") == 1
    assert "none: no such folder or zip of photos" in capsys.readouterr().err
