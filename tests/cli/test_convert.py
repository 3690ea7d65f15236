"""`dsacap convert`: results files that COCO's and nocaps' servers take."""

import json

import pytest

from dsacap.cli.main import main
from dsacap.common.files import read_json

RESULTS = [{"image_id": 391895, "caption": "a red ring"}, {"image_id": 7, "caption": "two rings"}]


def run(*words: object) -> int:
    return main(["convert", *map(str, words)])


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (json.dumps(RESULTS), ()),
        (json.dumps({"391895": "a red ring", "7": ["two rings"]}), ()),
        ("image_id,caption\n391895,a red ring\n7,two rings\n", ()),
        (json.dumps([*RESULTS, RESULTS[0]]), ("--duplicates", "first")),
        (
            "".join(
                json.dumps({"photo": name, "captions": [one["caption"]]}) + "\n"
                for name, one in zip(
                    ("val2014/COCO_val2014_000000391895.jpg", "7.png"), RESULTS, strict=True
                )
            ),
            ("--ids", "file-names"),
        ),
        (
            json.dumps({"greedy": {"391895": ["a red ring"], "7": ["two rings"]}, "T=1": {}}),
            ("--decoding", "greedy"),
        ),
    ],
)
def test_every_form_becomes_a_results_file(tmp_path, capsys, content, options):
    (tmp_path / "captions").write_text(content)
    output = tmp_path / "captions_test2014_ours_results.json"
    assert run(tmp_path / "captions", "--output", output, *options) == 0
    assert read_json(output) == RESULTS
    assert "2 captions; read from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.jpg": "a ring"}, "the id 'a.jpg' is not a number"),
        ({"7": ["a", "b"]}, "image 7 has 2 captions, and servers take one"),
        ({"7": None}, "the caption must be text"),
        ({"7": "a \ud800"}, "half a surrogate pair"),
    ],
)
def test_what_servers_refuse_is_refused(tmp_path, capsys, content, message):
    (tmp_path / "captions.json").write_text(json.dumps(content))
    assert run(tmp_path / "captions.json", "--output", tmp_path / "out.json") == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out.json").exists()


def test_two_file_names_of_one_image_are_refused(tmp_path, capsys):
    """A server takes one caption of an image."""
    (tmp_path / "captions.json").write_text(json.dumps({"a/7.jpg": "a ring", "b/7.jpg": "two"}))
    output = tmp_path / "out.json"
    assert run(tmp_path / "captions.json", "--output", output, "--ids", "file-names") == 1
    assert "'a/7.jpg' and 'b/7.jpg' are both image 7; remove one" in capsys.readouterr().err
    assert not output.exists()


def test_the_captions_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "captions.json").write_text(json.dumps(RESULTS))
    assert run(tmp_path / "captions.json", "--output", tmp_path / "captions.json") == 1
    assert "write to another file" in capsys.readouterr().err
    assert read_json(tmp_path / "captions.json") == RESULTS


def test_standard_output_holds_the_results_alone(tmp_path, capfd):
    (tmp_path / "captions.json").write_text(json.dumps(RESULTS))
    assert run(tmp_path / "captions.json", "--output", "-") == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == RESULTS and "2 captions; read from" in err
