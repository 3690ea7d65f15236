"""The page of `dsacap compare --html`: its content, and that nothing in it is code."""

import base64
import io
from html.parser import HTMLParser

import pytest
from PIL import Image

import dsacap
from dsacap.data.photos import PhotoSource
from dsacap.reporting.comparison_page import comparison_page
from helpers import noise_photo

HOSTILE = 'a <script>alert(1)</script> & "dog"\' \u202e \ud83d\n</style><!-- é'
NAMES = {f"{i}.png": [f"A dog runs {i} times."] for i in (1, 2, 3)}
SYSTEMS = {
    "<b>ours</b>": dict.fromkeys(NAMES, HOSTILE),
    "theirs": {name: texts[0] for name, texts in NAMES.items()},
}


class Reader(HTMLParser):
    """Collects the elements of a page with their text, and checks that they are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.elements = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        if tag not in ("meta", "img"):
            self.open.append((tag, self.elements[-1]))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][1][2] += data

    def of(self, tag: str) -> list[str]:
        return [text for name, _, text in self.elements if name == tag]


@pytest.fixture(scope="module")
def found():
    return dsacap.compare(SYSTEMS, NAMES, spice="off")


def test_scores_differences_and_images_are_shown(found):
    page, problems = comparison_page(found)
    read = Reader(page)
    assert not problems and "img" not in [tag for tag, _, _ in read.elements]
    cells = read.of("td") + read.of("b")
    ours, theirs = (100 * found.values[name]["CIDEr"] for name in SYSTEMS)
    assert {f"{ours:.2f} (1)", f"{theirs:.2f} (1)", f"{ours - theirs:+.2f}"} <= set(cells)
    assert sorted(read.of("h3")) == [f"Image {name}" for name in NAMES]  # none twice
    assert "<b>ours</b>: the highest CIDEr on 0 of 3 images" in read.of("h2")
    assert "theirs: the highest CIDEr on 3 of 3 images" in read.of("h2")
    assert {*found.signatures.values(), *found.notes} <= set(read.of("li"))
    assert {texts[0] for texts in NAMES.values()} <= set(read.of("li"))


def test_captions_are_text_and_nothing_is_fetched(found):
    page, _ = comparison_page(found)
    read = Reader(page)
    assert r"""a <script>alert(1)</script> & "dog"' \u202e \ud83d\n</style><!-- é""" in read.of(
        "td"
    )
    assert "<b>ours</b>" in read.of("th")
    assert not {"script", "link", "iframe"} & {tag for tag, _, _ in read.elements}
    policy = next(a["content"] for _, a, _ in read.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not any("style" in a or "onload" in a or "href" in a for _, a, _ in read.elements)
    page.encode()  # no half character is left


def test_photos_are_in_the_page_or_the_reason_is(found, tmp_path):
    for name in ("1.png", "2.png"):
        noise_photo((640, 480), 50).save(tmp_path / name)
    page, problems = comparison_page(found, PhotoSource(tmp_path))
    read = Reader(page)
    photos = [a["src"] for tag, a, _ in read.elements if tag == "img"]
    assert len(photos) == 2 and problems == [f"{tmp_path}: no photo '3.png' in it"]
    assert problems[0] in read.of("figcaption")
    data = base64.b64decode(photos[0].removeprefix("data:image/webp;base64,"))
    assert Image.open(io.BytesIO(data)).size == (288, 216)
