import json
import re

import pytest
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.evaluation.inputs import Reading
from dsacap.reporting.page.own_captions import write_page_of_files

REFERENCES = {
    1: ["A dog running.", "A dog on grass."],
    2: ["Two cats asleep.", "Two cats."],
    3: ["A red bus.", "A bus on a street."],
}
OURS = {1: "a dog runs", 2: "two cats", 3: "a <b>red</b> bus"}
THEIRS = {1: "a cat", 2: "cats asleep", 3: "a bus"}


def content_of(page) -> dict:
    (text,) = re.findall('id="content">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "my photos" / "sub").mkdir(parents=True)
    for name in ("1.jpg", "sub/COCO_val2014_000000000002.jpg"):
        Image.new("RGB", (16, 16), "red").save(folder / "my photos" / name)
    return folder


@pytest.fixture(scope="module")
def written(folder):
    """The page of two systems, and what was noted."""
    page = folder / "pages" / "page.html"
    photos, systems = folder / "my photos", {"ours": OURS, "theirs": THEIRS}
    notes = write_page_of_files(systems, REFERENCES, page, photos=photos, spice="off")
    return content_of(page), notes, page


def test_the_leaderboard_has_the_scores_with_their_intervals(written):
    content, _, page = written
    assert content["title"] == "Captions of ours and theirs"
    assert [row["system"] for row in content["board"]["rows"]] == ["ours", "theirs"]
    titles = [column["title"] for column in content["board"]["columns"]]
    assert titles == ["CIDEr", "BLEU-4", "METEOR", "ROUGE-L"]
    cider = content["board"]["rows"][0]["cells"][0]
    assert cider["mark"] == "best" and cider["low"] <= cider["value"] <= cider["high"]
    assert any(one.startswith("CIDEr-D|") for one in content["signatures"])
    assert "<b>" not in page.read_text() and 'name="table"' not in page.read_text()


def test_photos_are_shown_from_their_folder(written):
    content, notes, _ = written
    assert content["photos"] == {"embedded": False, "folder": "../my photos"}
    assert [image["file"] for image in content["images"]] == [
        "1.jpg",
        "sub/COCO_val2014_000000000002.jpg",
        "3",
    ]
    assert any("no photo of 1 images, such as 3" in note for note in notes)


def test_captions_references_and_their_agreement_are_shown(written):
    content, _, _ = written
    assert content["texts"][content["captions"][0][2][0]] == OURS[3]
    assert content["images"][0]["references"] == REFERENCES[1]
    assert all(image["agreement"] is not None for image in content["images"])
    assert content["marks"] is None and content["tradeoff"] == [] and content["curves"] == []


def test_systems_must_be_of_the_same_images(folder):
    fewer = {image: caption for image, caption in THEIRS.items() if image != 2}
    with pytest.raises(UserError, match="theirs: not of the same images as ours"):
        write_page_of_files(
            {"ours": OURS, "theirs": fewer},
            REFERENCES,
            folder / "bad.html",
            spice="off",
            how=Reading(subset=True),
        )
    assert not (folder / "bad.html").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("photos.zip", "is not a folder"), ("other", "has a photo of none")]
)
def test_a_folder_without_the_photos_is_refused(folder, name, message):
    (folder / "other").mkdir(exist_ok=True)
    Image.new("RGB", (16, 16), "red").save(folder / "other" / "somebody.png")
    with pytest.raises(UserError, match=message):
        write_page_of_files(
            {"ours": OURS}, REFERENCES, folder / "bad.html", photos=folder / name, spice="off"
        )
    assert not (folder / "bad.html").exists()
