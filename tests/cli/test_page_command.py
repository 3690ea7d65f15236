"""`dsacap page` as a user types it."""

import json

import pytest

from dsacap.cli.main import main

REFERENCES = {"1.jpg": ["A red dog.", "The dog is red!"], "2.jpg": ["A cat sleeps.", "A cat."]}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "references.json").write_text(json.dumps(REFERENCES))
    (tmp_path / "ours.json").write_text(json.dumps({"1.jpg": "a red dog", "2.jpg": "a cat"}))
    (tmp_path / "theirs.csv").write_text("image_id,caption\n1.jpg,a </script> dog\n2.jpg,cats\n")
    return tmp_path


def test_the_page_of_two_files_in_two_forms(files, capsys):
    arguments = ["page", "ours.json", "theirs.csv", "--references", "references.json"]
    assert main([*arguments, "--no-spice"]) == 0
    page = (files / "page.html").read_text()
    assert "<title>Captions of ours and theirs</title>" in page and page.count("</script>") == 2
    printed = capsys.readouterr()
    assert f"page.html ({len(page.encode()):,} bytes); open it in a browser" in printed.out
    assert "theirs.csv: " in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--references: is missing"),
        (
            ["--references", "references.json", "--output", "ours.json"],
            "ours.json: is an input; write to another file",
        ),
        (["--references", "none.json"], "none.json: no such file"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(files, capsys, options, message):
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    assert main(["page", "ours.json", "--no-spice", *options]) == 1
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_standard_output_holds_the_page_alone(files, capfd):
    options = ["--references", "references.json", "--no-spice", "--output", "-"]
    assert main(["page", "ours.json", *options]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("<!doctype html>") and out.rstrip().endswith("</html>")
    assert "ours.json: " in err and not (files / "-").exists()
