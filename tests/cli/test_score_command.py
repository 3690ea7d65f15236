"""`dsacap score` as a user types them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pycocoevalcap
import pytest

from dsacap.common.files import read_json
from dsacap.scoring import score as score_module
from dsacap.scoring.metrics import spice
from score_fixtures import COCO, run, run_score

pytestmark = pytest.mark.usefixtures("no_corenlp")


def test_table_json_and_csv_agree(files, capsys):
    folder, predictions, references, _ = files
    outputs = ("--json", folder / "s.json", "--csv", folder / "s.csv")
    assert run_score(predictions, "--references", references, *outputs) == 0
    captured = capsys.readouterr()
    headline, table, scale, signatures = captured.out.split("\n\n")
    printed = {line.split()[0]: line.split()[1] for line in table.splitlines()[2:]}
    scores = read_json(folder / "s.json")["quality"]
    in_paper = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    row = ", ".join(f"{name} {100 * scores[name]['value']:.1f}" for name in in_paper)
    assert headline == f"{row} (3 images)"
    assert "x100" in scale and "0..10" in scale
    # What is printed once, and what a metric adds, make up the signature in the file.
    shared, cider = signatures.splitlines()[1].strip(), signatures.splitlines()[-1].strip()
    assert "images:3|" in shared and f"{cider}|{shared}" == scores["CIDEr"]["signature"]
    assert signatures.splitlines()[3].startswith("  BLEU-1 to BLEU-4|len:closest")
    assert captured.err.endswith(f"wrote {folder / 's.json'}, {folder / 's.csv'}\n")
    rows = pd.read_csv(folder / "s.csv")
    assert {"BLEU-4", "METEOR", "ROUGE-L", "CIDEr"} <= set(printed)
    for metric, score in scores.items():
        assert float(printed[metric]) == pytest.approx(100 * score["value"], abs=0.006)
        mine = rows[rows.metric == metric]
        assert mine[mine.image_id.isna()].value.item() == pytest.approx(score["value"])
        assert dict(
            zip(mine.image_id.dropna().astype(int).astype(str), mine.value.iloc[1:], strict=True)
        ) == pytest.approx(score["per_image"])


def test_several_captions_an_image_add_diversity_and_novelty(files, capsys):
    folder, _, references, write = files
    several = [
        {"image_id": i, "caption": c} for i in (1, 2, 3) for c in ("a red dog", f"thing number {i}")
    ]
    path = write("several.json", several)
    assert (
        run_score(
            path, "--references", references, "--train", references, "--json", folder / "s.json"
        )
        == 0
    )
    parts = read_json(folder / "s.json")
    assert parts["diversity"]["unique"]["value"] == 2 and parts["diversity"]["novel"][
        "value"
    ] == pytest.approx(0.5)
    assert parts["leaks"]["verbatim"] == 3
    assert parts["oracle"]["CIDEr"]["value"] >= parts["quality"]["CIDEr"]["value"]
    printed = capsys.readouterr().out
    assert "Scores with two decimals are x100" in printed
    assert re.search(r"^vocabulary +8 ", printed, re.MULTILINE)
    assert (
        "mBLEU-4" in printed
        and "best-of-2 CIDEr" in printed
        and "3 of 6 captions occur word for word in the train captions." in printed
    )


def test_tokenised_references_are_left_alone(files):
    folder, predictions, _, write = files
    tokens = write("tokens.json", {"1": ["a red dog"], "2": ["a dog sleeps"], "3": ["birds,"]})
    assert (
        run_score(predictions, "--references", tokens, "--tokenized", "--json", folder / "s.json")
        == 0
    )
    per_image = read_json(folder / "s.json")["quality"]["BLEU-1"]["per_image"]
    assert per_image["1"] == pytest.approx(1)
    assert per_image["3"] == pytest.approx(0, abs=1e-6)  # 'birds,' stays one token


def test_train_captions_are_read_by_themselves(files, capsys):
    """A split of the references, or their form, is not that of the train captions."""
    _, predictions, _, write = files
    texts = [one["caption"] for one in read_json(predictions)]
    images = [{"imgid": i, "split": "test", "sentences": [{"raw": "A dog."}]} for i in (1, 2, 3)]
    images += [{"imgid": 9, "split": "train", "sentences": [{"raw": text} for text in texts]}]
    both = write("karpathy.json", {"images": images})
    options = ("--references", both, "--split", "test", "--train", both)
    assert run_score(predictions, *options) == 0
    assert "3 of 3 captions occur word for word in the train captions" in capsys.readouterr().out


def test_a_subset_needs_its_option(files, capsys):
    _, _, references, write = files
    part = write(
        "part.json", [{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]
    )
    assert run_score(part, "--references", references) == 1
    assert "first: image 3" in capsys.readouterr().err
    assert run_score(part, "--references", references, "--subset") == 0


def test_one_image_is_scored_and_cider_is_na(files, capsys):
    folder, _, references, write = files
    one = write("one.json", [{"image_id": 1, "caption": "a red dog"}])
    outputs = ("--json", folder / "s.json", "--csv", folder / "s.csv")
    assert run_score(one, "--references", references, "--subset", *outputs) == 0
    printed = capsys.readouterr().out
    assert "n/a" in next(line for line in printed.splitlines() if line.startswith("CIDEr "))
    assert "one image only" in printed and "--document-frequencies coco-val2014" in printed
    scores = read_json(folder / "s.json")["quality"]
    assert scores["BLEU-1"]["value"] == pytest.approx(1) and scores["CIDEr"]["value"] is None
    assert pd.read_csv(folder / "s.csv").value.notna().sum() == 2 * 6
    other = write("other.json", read_json(one))
    assert run("compare", one, other, "--references", references, "--subset") == 1
    assert "has one image, and p and intervals need two or more" in capsys.readouterr().err


def cider(path: Path) -> dict:
    return read_json(path)["quality"]["CIDEr"]


def test_document_frequencies_of_coco_or_of_a_file(files, capsys):
    folder, predictions, references, write = files
    one = write("one.json", [{"image_id": 1, "caption": "a red dog"}])
    output = ("--json", folder / "s.json")
    for chosen, name in (("coco-val2014", "coco-val2014@sha256:"), (references, "sha256:")):
        option = ("--references", references, "--document-frequencies", chosen, *output)
        assert run_score(predictions, *option) == 0
        of_all = cider(folder / "s.json")
        assert f"|df:{name}" in of_all["signature"]
        assert run_score(one, *option, "--subset") == 0
        assert cider(folder / "s.json")["per_image"] == {"1": of_all["per_image"]["1"]}
    # Those of the references themselves are the default.
    assert run_score(predictions, "--references", references, *output) == 0
    assert cider(folder / "s.json")["value"] == of_all["value"]
    assert "scored before" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (None, "no such file; give one with references, or the name coco-val2014"),
        ({key: COCO[key][:1] for key in ("images", "annotations")}, "has one image"),
        ([], "corpus.json"),
    ],
)
def test_document_frequencies_that_cannot_be_used(files, capsys, corpus, message):
    folder, predictions, references, write = files
    path = folder / "corpus.json" if corpus is None else write("corpus.json", corpus)
    assert run_score(predictions, "--references", references, "--document-frequencies", path) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize("words", [101, 260])
@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_a_long_caption_costs_the_file_its_spice_only(files, capsys, monkeypatch, side, words):
    folder, predictions, references, write = files
    monkeypatch.setattr(spice, "corenlp_jars", lambda *_, **__: pytest.fail("asked for SPICE"))
    long = " ".join(["dog"] * words)
    if side == "prediction":
        predicted = read_json(predictions)
        predicted[1]["caption"] = long
        predictions = write("long.json", predicted)
    else:
        annotations = [*COCO["annotations"], {"id": 99, "image_id": 2, "caption": long}]
        references = write("long.json", {**COCO, "annotations": annotations})
    given = (predictions, "--references", references)
    assert run("score", *given, "--json", folder / "s.json") == 0
    scores = read_json(folder / "s.json")["quality"]
    assert scores["SPICE"]["value"] is None and scores["SPIDEr"]["value"] is None
    kind = {"prediction": "caption"}.get(side, side)
    assert f"image 2: a {kind} of {words} words" in scores["SPICE"]["reason"]
    others = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    assert all(scores[metric]["value"] >= 0 for metric in others)
    assert run("score", *given, "--spice") == 1
    assert "is too long; SPICE parses up to 100" in capsys.readouterr().err


def test_a_long_caption_among_several_costs_all_spice(files, capsys, monkeypatch):
    folder, _, references, write = files
    monkeypatch.setattr(spice, "corenlp_jars", lambda *_, **__: pytest.fail("asked for SPICE"))
    monkeypatch.setattr(score_module, "score_spice", lambda *_: {})  # of the first captions
    texts = [(i, text) for i in (1, 2, 3) for text in ("a dog", "a dog " * 60)]
    several = write("several.json", [{"image_id": i, "caption": text} for i, text in texts])
    given = (several, "--references", references, "--all-spice", "--json", folder / "s.json")
    monkeypatch.setattr(score_module, "all_spice", _too_long)
    assert run("score", *given) == 0
    assert read_json(folder / "s.json")["diversity"]["AllSPICE"]["value"] is None
    assert "AllSPICE: not computed: image 1" in capsys.readouterr().out
    assert run("score", *given, "--spice") == 1


def _too_long(*_):
    raise spice.CaptionTooLong("SPICE: not computed: image 1")


@pytest.mark.parametrize("arguments", [(), ("p.json", "--system", "ar")])
def test_a_file_or_a_system(arguments, capsys):
    assert run("score", *arguments) == 1
    assert "either a predictions file" in capsys.readouterr().err


def test_fakecap_has_its_published_scores(real_data, tmp_path):
    folder = real_data / "predictions"
    references = folder / "fakecap_references_tokenized.json"
    path = folder / "captions_val2014_fakecap_results.json"
    assert (
        run_score(path, "--references", references, "--tokenized", "--json", tmp_path / "s.json")
        == 0
    )
    scores = {
        metric: round(score["value"], 3)
        for metric, score in read_json(tmp_path / "s.json")["quality"].items()
    }
    published = {
        "BLEU-1": 0.579,
        "BLEU-2": 0.404,
        "BLEU-3": 0.279,
        "BLEU-4": 0.191,
        "METEOR": 0.195,
        "ROUGE-L": 0.396,
        "CIDEr": 0.600,
    }
    assert {metric: scores[metric] for metric in published} == published


def test_without_corenlp_spice_is_na_and_an_error_only_if_required(files, capsys):
    folder, predictions, references, _ = files
    assert run("score", predictions, "--references", references, "--json", folder / "s.json") == 0
    assert read_json(folder / "s.json")["quality"]["SPICE"]["value"] is None
    printed = capsys.readouterr().out
    assert (
        "n/a" in next(line for line in printed.splitlines() if line.startswith("SPICE"))
        and "no network" in printed
    )
    assert run("score", predictions, "--references", references, "--spice") == 1
    assert "error: SPICE: not computed" in capsys.readouterr().err


def test_the_same_numbers_from_a_path_with_spaces_in_a_foreign_locale(files):
    """Run another process in the C locale, with a Turkish Java and the jars in a path with a space.

    Nothing may be written next to the jars. The captions contain all kinds of line breaks, letters
    outside ASCII, and half a surrogate pair.
    """
    folder, _, _, write = files
    odd = {1: "A red\u2028dog.\x0b", 2: "TITLE İI\nsleeps", 3: "two b\u00efrds \ud83d"}
    predictions = write("odd.json", [{"image_id": i, "caption": c} for i, c in odd.items()])
    arguments = [
        "score",
        predictions,
        "--references",
        folder / "references.json",
        "--no-spice",
        "--json",
    ]
    assert run(*arguments, folder / "here.json") == 0
    install = folder / "an install"
    shutil.copytree(
        pycocoevalcap.__path__[0],
        install / "pycocoevalcap",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    before = {path: path.stat().st_mtime_ns for path in install.rglob("*")}
    foreign = {
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONUTF8": "0",
        "JAVA_TOOL_OPTIONS": "-Duser.language=tr -Duser.country=TR",
    }
    environment = {
        **os.environ,
        **foreign,
        "PYTHONPATH": str(install),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DSACAP_CACHE": str(folder / "other"),
    }
    command = [sys.executable, "-m", "dsacap.cli", *map(str, arguments), str(folder / "there.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "there.json").read_bytes() == (folder / "here.json").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in install.rglob("*")} == before


def test_all_spice_of_one_caption_is_refused(files, capsys):
    _, predictions, references, _ = files
    assert run("score", predictions, "--references", references, "--all-spice") == 1
    assert "it needs two or more, image 1 has 1" in capsys.readouterr().err
    assert run("score", predictions, "--references", references, "--all-spice", "--no-spice") == 1
    assert "--all-spice and --no-spice exclude each other" in capsys.readouterr().err
