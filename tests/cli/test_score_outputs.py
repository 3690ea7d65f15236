"""Where the results of `dsacap score` go, its domains, and what stops it before it scores."""

import io
import json
import os
import sys
import threading

import pandas as pd
import pytest
from PIL import Image

from dsacap.cli import score as evaluate
from dsacap.common.files import read_json
from dsacap.vision.encoders import load
from score_fixtures import COCO, run, run_score

pytestmark = pytest.mark.usefixtures("no_corenlp")


# --------------------------------------------------------------------------------------- domains


def test_domains_are_columns(files, capsys):
    folder, predictions, _, write = files
    domains = dict(zip((1, 2, 3), ("near-domain", "in-domain", "near-domain"), strict=True))
    images = [{"id": i, "domain": domain} for i, domain in domains.items()]
    references = write("nocaps.json", {**COCO, "images": images})
    outputs = ("--json", folder / "s.json", "--csv", folder / "s.csv")
    assert run_score(predictions, "--references", references, *outputs) == 0
    headline, _, printed = capsys.readouterr().out.partition("\n\n")
    assert headline.startswith("BLEU-1") and headline.endswith("(3 images)")  # of all domains
    assert printed.split("\n")[0].split()[:4] == ["Metric", "in-domain", "near-domain", "overall"]
    parts = read_json(folder / "s.json")
    near = parts["domains"]["near-domain"]["BLEU-1"]
    assert near["per_image"].keys() == {"1", "3"} and "|images:2|" in near["signature"]
    row = next(line.split() for line in printed.splitlines() if line.startswith("BLEU-1"))
    values = (parts["domains"]["in-domain"]["BLEU-1"], near, parts["quality"]["BLEU-1"])
    assert row[1:4] == [f"{100 * one['value']:.2f}" for one in values]
    assert "n/a" in next(line for line in printed.splitlines() if line.startswith("CIDEr "))
    assert "there is one image only" in printed  # in-domain
    table = pd.read_csv(folder / "s.csv")
    of_domain = table[table.image_id.isna() & (table.domain == "near-domain")]
    assert of_domain.set_index("metric").value["BLEU-1"] == pytest.approx(near["value"])
    assert set(table[table.image_id == 2].domain) == {"in-domain"}


# ------------------------------------------------------------- where results go, and what stops it


def test_standard_output_holds_the_output_alone(files, capfd):
    _, predictions, references, _ = files
    assert run_score(predictions, "--references", references, "--json", "-") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["quality"]["CIDEr"]["value"] > 0 and "95 % interval" in err


@pytest.fixture
def no_scoring(monkeypatch):
    for name in ("score_inputs", "load_inputs"):
        monkeypatch.setattr(evaluate, name, lambda *_, **__: pytest.fail("scored"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--json", "/proc/none/s.json"), "/proc/none/s.json: cannot be written"),
        (("--photos", "/none"), "/none: no such folder or zip of photos"),
        (("--json", "-", "--csv", "-"), "is named for two outputs"),
        (("--train", "-", "--document-frequencies", "-"), "standard input is named twice"),
    ],
)
def test_what_cannot_be_used_is_found_before_scoring(files, capsys, no_scoring, options, message):
    _, predictions, references, _ = files
    assert run_score(predictions, "--references", references, *options) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["photos/1.jpg", "link.json", "hard.json"])
@pytest.mark.parametrize(
    ("verb", "files_read", "option"),
    [("score", 1, "--json"), ("compare", 2, "--html"), ("page", 2, "--output")],
)
def test_no_photo_is_overwritten(files, capsys, no_scoring, verb, files_read, option, name):
    folder, predictions, references, _ = files
    (folder / "photos").mkdir()
    photo = folder / "photos" / "1.jpg"
    Image.new("RGB", (32, 32)).save(photo)
    (folder / "link.json").symlink_to(photo)
    (folder / "hard.json").hardlink_to(photo)
    before = photo.read_bytes()
    options = ("--references", references, "--photos", folder / "photos", option, folder / name)
    assert run(verb, *[predictions] * files_read, *options) == 1
    assert f"{name}: is an input" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_document_frequencies_from_a_pipe_are_read_once(files, capsys):
    folder, predictions, references, _ = files
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(references.read_bytes()))
    writer.start()
    options = ("--document-frequencies", pipe, "--json", folder / "a.json")
    assert run_score(predictions, "--references", references, *options) == 0
    writer.join()
    options = ("--document-frequencies", references, "--json", folder / "b.json")
    assert run_score(predictions, "--references", references, *options) == 0
    assert "scored before" in capsys.readouterr().err  # the file has the same hash
    a, b = (read_json(folder / name)["quality"]["CIDEr"] for name in ("a.json", "b.json"))
    assert a == b


def test_half_characters_and_ascii_terminals_end_in_no_traceback(files, monkeypatch):
    folder, _, _, write = files
    texts = {1: "a r\u00e9d dog", 2: "a cat \ud83d", 3: "<start> \u72ac"}
    records = [{"image_id": i, "caption": text} for i, text in texts.items()]
    odd = write("odd.json", records)
    other = folder / os.fsdecode(b"\xff\xc3\xa9.json")
    other.write_bytes(odd.read_bytes())
    references = folder / "references.json"
    streams = {}
    for name in ("stdout", "stderr"):
        streams[name] = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, name, streams[name])
    given = ("--references", references, "--no-spice", "--json", folder / "s.json")
    assert run("score", other, *given) == 0
    assert read_json(folder / "s.json")["predictions"].endswith("/\ufffd\u00e9.json")
    page = folder / "page.html"
    plain = write("plain.json", [{"image_id": i, "caption": "a red dog"} for i in (1, 2, 3)])
    assert run("compare", odd, other, plain, *given, "--html", page) == 0
    assert list(read_json(folder / "s.json")["values"]) == ["odd", "\ufffd\u00e9", "plain"]
    assert "a r\u00e9d dog" in page.read_text(encoding="utf-8")
    assert run("validate", odd, other, "--references", references) == 0
    bad = write("bad.json", [{"image_id": "a\ud83d", "caption": "x"}])
    assert run("validate", bad) == run("score", bad, *given) == 1
    for stream in streams.values():
        stream.flush()
    printed = streams["stdout"].buffer.getvalue()
    assert rb"a r\xe9d dog" in printed and printed.isascii()
    assert b"is half a surrogate pair" in streams["stderr"].buffer.getvalue()


def test_clip_score_without_weights_is_na_and_downloads_nothing(files, capsys, monkeypatch):
    folder, predictions, references, _ = files
    (folder / "photos").mkdir()
    Image.new("RGB", (32, 32)).save(folder / "photos" / "1.jpg")
    monkeypatch.setattr(load, "load_encoder", lambda *_: pytest.fail("loads weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    given = (predictions, "--references", references, "--photos", folder / "photos")
    assert run_score(*given, "--json", folder / "s.json") == 0
    score = read_json(folder / "s.json")["quality"]["CLIPScore"]
    assert score["value"] is None
    assert "the weights of ViT-B-32 (openai) are not on this machine" in score["reason"]
    printed = capsys.readouterr().out
    assert "hf download timm/vit_base_patch32_clip_224.openai" in printed
    # What has no number has no signature, so that the last one is CIDEr's.
    assert printed.splitlines()[-1].startswith("  CIDEr-D|")
    assert run_score(predictions, "--photos", folder / "photos") == 0
    assert "Signatures" not in capsys.readouterr().out
