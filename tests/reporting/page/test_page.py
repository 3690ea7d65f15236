import base64
import hashlib
import html
import io
import json
import re
import zipfile

import pytest
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, sha256, write_json, write_jsonl
from dsacap.config.dataset import Coco
from dsacap.reporting.cells import labels_of
from dsacap.reporting.page.content import content_of, write_page
from dsacap.reporting.page.html_file import assemble
from dsacap.reporting.series_style import styles_of
from dsacap.reporting.table import write_tables
from dsacap.runs.layout import HUMAN, Layout, manifest_of
from helpers import tiny_config
from pages import made_up

TEST = (31, 32, 33)


@pytest.fixture
def finished(layout) -> Layout:
    """Add the captions, photos and curves of three test images, the third without captions."""
    photos = layout.photos["test"]
    photos.parent.mkdir(parents=True)
    with zipfile.ZipFile(photos, "w") as archive:
        for image_id in TEST:
            packed = io.BytesIO()
            Image.new("RGB", (64, 64), "red").save(packed, "PNG")
            archive.writestr(f"scene_{image_id}.png", packed.getvalue())
    row = {
        "source": "test",
        "split": "test",
        "captions": ["A ring.", "One <b>ring</b>"],
        "tokens": ["a ring", "one ring"],
    }
    write_jsonl(
        layout.data / "captions.jsonl", [{"id": i, "file": f"scene_{i}.png", **row} for i in TEST]
    )
    ring = {"background": "black", "things": [["ring", "red", "large", 0, 0]]}
    write_json(layout.data / "scenes.json", {str(i): ring for i in TEST})
    for system, seed in layout.runs:
        decodings = layout.config.systems[system].decodings
        write_json(
            layout.captions(system, seed),
            {d: {str(i): [f"a {system} {d}", "a ring"] for i in TEST[:2]} for d in decodings},
        )
        scores = read_json(layout.scores(system, seed))
        for parts in scores.values():
            parts["quality"]["CIDEr"]["per_image"] = {str(i): i / 10 + seed for i in TEST[:2]}
        write_json(layout.scores(system, seed), scores)
        log = [{"step": 20 * n, "loss": 9 - n / 100} for n in range(1, 401)] + [
            {"step": 8001, "loss": 1.0, "val_CIDEr": 0.5}
        ]
        write_jsonl(layout.system(system, seed) / "train.jsonl", log)
    write_json(
        layout.inside("dsacap", 0),
        {"decoding": "K=1", "images": {"31": {"frames": [], "caption": "a ring", "graph": None}}},
    )
    write_json(
        manifest_of(layout.inside("dsacap", 0)), {"code": {"commit": "facade", "dirty": False}}
    )
    write_tables(layout)
    return layout


def curves_by_title(content: dict) -> dict[str, dict]:
    return {curve["title"]: curve for curve in content["curves"]}


def test_a_row_that_is_not_finished_shows_no_curve(finished):
    assert set(curves_by_title(content_of(finished))) == {
        "CIDEr on the validation split",
        "Training loss",
        "Loss of tuning",
    }
    assert set(curves_by_title(content_of(finished))["Loss of tuning"]["curves"]) == {"dsacap-rl"}
    finished.scores("dsacap-rl", 0).unlink()
    curves = curves_by_title(content_of(finished))
    assert set(curves["Training loss"]["curves"]) == {"ar", "dsacap"}
    assert "Loss of tuning" not in curves


def test_content_is_that_of_the_result_files(finished):
    content = content_of(finished)
    assert [row["system"] for row in content["rows"]] == ["ar", "ar", "dsacap", "dsacap-rl"]
    assert [row["first"] for row in content["rows"]] == [True, False, True, True]
    assert [image["id"] for image in content["images"]] == [31, 32] and content["images"][0][
        "references"
    ] == ["A ring.", "One <b>ring</b>"]
    assert [[content["texts"][t] for t in of_image] for of_image in content["captions"][1]] == [
        ["a ar T=1", "a ring"]
    ] * 2
    assert len(set(content["texts"])) == len(content["texts"]) == 5
    assert content["metrics"] == ["CIDEr"] and content["scores"][0]["CIDEr"] == [
        310,
        320,
    ]  # of seed 0, as tables show it
    assert {row["weights"][:8] for row in content["tradeoff"]} == {
        "0arxxxxx",
        "0dsacapx",
        "0dsacap-",
    }
    assert (
        content["insides"]["dsacap"]["images"]["31"]["caption"] == "a ring"
        and "facade" in content["made"]["commits"]
    )
    tuning = [curve for curve in content["curves"] if curve["tuned"]]
    assert tuning[0]["curves"] == {"dsacap-rl": [(8001, 50)]}  # of validation, as tables show it
    assert len(tuning[1]["curves"]["dsacap-rl"]) <= 150 and tuning[0]["unit"] == "CIDEr (x100)"
    photo = Image.open(io.BytesIO(base64.b64decode(content["images"][0]["webp"])))
    assert (photo.format, photo.size) == ("WEBP", (64, 64))


def test_the_page_opens_with_the_table_and_says_how_it_was_made(finished):
    content = content_of(finished)
    assert [row["label"] for row in content["board"]["rows"]][:2] == ["ar †"] * 2
    assert content["board"]["columns"][0]["metric"] == "CIDEr"
    assert content["made"]["on"] == "2026-11-24"
    assert content["made"]["commits"][0] == "c0ffee0 with local changes"
    assert content["citation"].startswith("@misc{dsacap-bench-tiny-")
    assert [one["file"] for one in content["files"]] == ["table.md", "table.csv", "table.json"]
    assert content["findings"] is None and content["reported"] is None


def test_captions_are_marked_by_what_their_pictures_show(finished):
    content = content_of(finished)
    assert content["marks"]["kind"] == "truth" and content["marks"]["names"][0] == "true"
    # "a dsacap K=1" is no sentence of the scenes' language; "a ring" is true of both pictures.
    assert content["marks"]["rows"][2] == ["20", "20"]


def test_agreement_of_the_references_is_that_of_their_scores(finished):
    scores = read_json(finished.scores(HUMAN, 0))
    scores["references"]["held_out"]["CIDEr"]["per_image"] = {"31": 1.234}
    write_json(finished.scores(HUMAN, 0), scores)
    assert [image["agreement"] for image in content_of(finished)["images"]] == [123.4, None]


def test_systems_have_the_colours_of_the_plot_next_to_the_table(finished):
    styles = styles_of(labels_of(finished.config))
    for one in content_of(finished)["systems"]:
        assert (one["colour"], one["marker"]) == (
            styles[one["system"]].colour,
            styles[one["system"]].marker,
        )


def test_a_row_that_came_from_a_file_is_shown_too(finished, tmp_path):
    write_json(tmp_path / "mine.json", [{"image_id": i, "caption": "mine"} for i in TEST])
    predictions = {
        "mine": {
            "file": str(tmp_path / "mine.json"),
            "label": "Mine",
            "citation": "-",
            "trained_on": "-",
        }
    }
    layout = Layout(tiny_config(tmp_path, seeds=[0, 1], predictions=predictions))
    write_json(
        layout.scores("mine", 0),
        {"predictions": {"quality": {"CIDEr": {"value": 1, "per_image": {"31": 0.5}}}}},
    )
    content = content_of(layout)
    assert content["rows"][-1] == {"system": "mine", "label": "Mine", "decoding": "", "first": True}
    assert (
        content["scores"][-1]["CIDEr"] == [50, None]
        and content["texts"][content["captions"][-1][0][0]] == "mine"
    )


def test_photos_of_others_are_not_in_the_page(finished, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("dsacap.reporting.page.content.Scenes", Coco)
    train = {"source": "test", "split": "train", "captions": ["A ring."], "tokens": ["a ring"]}
    images = (finished.data / "captions.jsonl").read_text()
    (finished.data / "captions.jsonl").write_text(
        images + json.dumps({"id": 1, "file": "1.png", **train}) + "\n"
    )
    monkeypatch.setattr(Layout, "photos", {"test": tmp_path / "photos"})
    content = content_of(finished)
    assert (
        content["photos"] == {"embedded": False, "folder": "../photos"}
        and "webp" not in content["images"][0]
    )
    assert "img-src 'self' file:;" in html.unescape(assemble(content, "0" * 64))
    monkeypatch.setattr(
        Layout, "photos", {"test": tmp_path / "photos.zip"}
    )  # a browser looks into no archive
    assert content_of(finished)["photos"]["folder"] == ""


def test_the_page_loads_nothing_from_elsewhere(finished):
    size = write_page(finished)
    page = finished.page.read_text()
    assert size == finished.page.stat().st_size < 100_000
    assert not re.search(
        r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:https?:)?//"""
        r"|@import|url\(|fetch\(|XMLHttpRequest|import\(",
        page,
    )
    assert re.findall(r"https?://[^\"'\s]+", page) == [
        "http://www.w3.org/2000/svg"
    ]  # a name, not an address
    assert (
        page.count("<script") == 2
        and "<link" not in page
        and f"sha256:{sha256(finished.table.with_suffix('.json'))}" in page
    )


def test_the_policy_names_the_scripts_and_styles_of_the_page():
    page = assemble(made_up(2), "0" * 64)
    policy = html.unescape(
        re.search('http-equiv="Content-Security-Policy" content="(.*?)"', page)[1]
    )
    assert (
        policy.startswith("default-src 'none';")
        and "unsafe" not in policy
        and "img-src data:;" in policy
    )
    for kind in ("script", "style"):
        (text,) = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_content_cannot_end_its_element():
    hostile = "</script><script>alert(1)</script><!-- & \u2028 <img src=x onerror=alert(1)>"
    content = made_up(1, captions={(0, 0): [hostile]}) | {"title": hostile}
    page = assemble(content, "0" * 64)
    embedded = re.search(
        '<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL
    )[1]
    assert json.loads(embedded) == json.loads(json.dumps(content))
    assert not re.search("[<>&]", embedded) and page.count("<script") == 2 and "<img" not in page
    assert f"<title>{html.escape(hostile)}</title>" in page


def test_half_a_character_in_a_caption_is_kept_as_an_escape():
    page = assemble(made_up(1, captions={(0, 0): ["a \ud800 dog"]}), "0" * 64)
    assert "a \\ud800 dog" in page and page.encode()


def test_rows_of_the_first_seed_are_needed(finished):
    for system in finished.config.systems:
        finished.scores(system, 0).unlink()
    with pytest.raises(UserError, match="no row of seed 0 is finished"):
        write_page(finished)


def test_without_a_table_there_is_no_page(layout):
    with pytest.raises(UserError, match=r"no table yet.* `make page`"):
        write_page(layout)
    assert not layout.page.exists()
