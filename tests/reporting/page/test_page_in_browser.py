"""The page in a real browser: what it shows for an address, of photos and in general."""

import html
import json
import re
from collections import Counter
from itertools import combinations

import pytest
from PIL import Image

from browser import WITH_BROWSER, files_of
from dsacap.reporting.page import html_file
from dsacap.reporting.page.html_file import assemble
from pages import made_up

pytestmark = WITH_BROWSER

RUNS = "document.title = 'it ran'"
HOSTILE = [
    f'<img src=x onerror="{RUNS}">',
    f"</script><script>{RUNS}</script>",
    "<!-- <script>",
    "a & b <b>bold</b> \u2028 ]]>",
]


def test_photos_are_searched_and_sorted_as_the_address_says(seen):
    captions = {
        (0, 4): ["a purple zebra"],
        (1, 4): ["two elephants"],
        (2, 4): ["nothing at all"],
        (0, 9): ["zebras"],
        (0, 11): ["a cozebra"],
    }
    second, found, in_one, scored, differing = seen(
        made_up(30, captions=captions),
        "view=photos&page=2",
        "view=photos&q=zebra",
        "view=photos&q=two+eleph",
        "view=photos&sort=score&by=s1/greedy",
        "view=photos&sort=difference&by=s2/greedy&minus=s0/greedy&order=lowest",
    )
    assert files_of(second) == [f"photo-{i}.png" for i in range(24, 30)]
    assert files_of(found) == ["photo-4.png", "photo-9.png"]  # beginnings of words
    assert (
        '<p id="status" class="unseen" role="status">2 of 30 photos; with “zebra”</p>' in found
        and "<mark>zebra</mark>s" in found
    )
    assert files_of(in_one) == ["photo-4.png"]  # in one caption
    by_score = sorted(range(30), key=lambda i: (-((i * 8) % 101), i))
    assert files_of(scored) == [f"photo-{i}.png" for i in by_score[:24]]
    lowest = sorted(range(30), key=lambda i: ((i * 9) % 101 - (i * 7) % 101, i))
    assert files_of(differing) == [f"photo-{i}.png" for i in lowest[:24]]


def test_disagreement_is_the_share_of_words_not_shared(opened):
    content = made_up(20)
    words = [
        [Counter(content["texts"][of_image[0]].split()) for of_image in row]
        for row in content["captions"]
    ]

    def disagreement(i: int, rows: tuple[int, ...]) -> float:
        pairs = list(combinations([words[r][i] for r in rows], 2))
        return 1 - 2 * sum((a & b).total() for a, b in pairs) / sum(
            (a + b).total() for a, b in pairs
        )

    of_two = sorted(range(20), key=lambda i: (-round(disagreement(i, (0, 2)), 9), i))
    assert of_two != sorted(range(20), key=lambda i: (-round(disagreement(i, (0, 1, 2)), 9), i))
    dom = opened(
        assemble(content, "0" * 64), "view=photos&sort=disagreement&row=s0/greedy&row=s2/greedy"
    )
    assert files_of(dom) == [f"photo-{i}.png" for i in of_two]


def test_typing_choosing_and_turning_pages_change_the_address(opened, tmp_path, monkeypatch):
    (tmp_path / "user.js").write_text("""
        const steps = [];
        const first = () => document.querySelector(".card").getAttribute("aria-label");
        const now = () => steps.push([location.hash, first(), document.activeElement.name]);
        const put = (selector, value, event) => {
          const element = document.querySelector(selector);
          element.focus();
          element.value = value;
          element.dispatchEvent(new Event(event));
          now();
        };
        put("[name=q]", "zebra", "input");
        put("[name=q]", "", "input");
        put("[name=sort]", "disagreement", "change");
        put("[name=order]", "lowest", "change");
        document.getElementById("rows").open = true;
        const box = document.querySelector("[name=row][value='s1/greedy']");
        box.focus();
        box.click();
        now();
        const buttons = [...document.querySelectorAll(".pages button")];
        buttons.find((button) => button.textContent === "Next").click();
        now();
        document.title = JSON.stringify(steps);
    """)
    monkeypatch.setattr(html_file, "_SCRIPTS", (*html_file._SCRIPTS, str(tmp_path / "user.js")))
    dom = opened(assemble(made_up(30, captions={(0, 4): ["a zebra"]}), "0" * 64), "view=photos")
    steps = json.loads(html.unescape(re.search("<title>(.*?)</title>", dom)[1]))
    assert steps[0] == ["#view=photos&q=zebra", "photo-4.png", "q"]
    assert steps[1] == ["#view=photos", "photo-0.png", "q"]
    assert [address for address, *_ in steps[2:4]] == [
        "#view=photos&sort=disagreement",
        "#view=photos&sort=disagreement&order=lowest",
    ] and steps[3][2] == "order"
    assert (
        steps[4][0] == "#view=photos&sort=disagreement&order=lowest&row=s0%2Fgreedy&row=s2%2Fgreedy"
        and steps[4][2] == "row"
    )
    assert steps[5][0] == f"{steps[4][0]}&page=2" and steps[5][1] != steps[4][1]


@pytest.mark.parametrize("view", ["results", "photos", "inside", "tradeoff", "training"])
def test_captions_are_text_and_never_run(opened, view):
    content = made_up(
        6, captions={(0, i): [hostile, f"again: {hostile}"] for i, hostile in enumerate(HOSTILE)}
    )
    content |= {"title": HOSTILE[1], "note": HOSTILE[0]}
    content["images"][0]["references"] = HOSTILE
    for part in ("rows", "tradeoff", "systems"):
        content[part][0]["label"] = HOSTILE[0]
    content["board"]["rows"][0]["label"] = content["curves"][0]["title"] = HOSTILE[0]
    content["findings"] = {
        "sentences": [HOSTILE[0]],
        "claims": [{"name": HOSTILE[0], "says": HOSTILE[1], "verdict": "x", "tests": HOSTILE}],
    }
    content["insides"]["s0"]["images"]["1"]["frames"][1]["caption"] = content["insides"]["s0"][
        "images"
    ]["1"]["caption"] = HOSTILE[0]
    dom = opened(
        assemble(content, "0" * 64), f"view={view}&q={'%3Cimg' if view == 'photos' else ''}"
    )
    assert "<title>it ran</title>" not in dom and HOSTILE[0] not in dom
    assert html.escape(HOSTILE[0], quote=False) in dom and "<script" not in dom


def test_the_policy_lets_no_other_script_run(opened):
    page = assemble(made_up(2), "0" * 64)
    dom = opened(
        page.replace("</body>", f'<script>{RUNS}</script><img src=x onerror="{RUNS}"></body>'),
        "view=photos",
    )
    assert "it ran" not in re.search("<title>(.*?)</title>", dom)[1] and files_of(dom) == [
        "photo-0.png",
        "photo-1.png",
    ]


def test_photos_that_are_not_embedded_are_shown_from_the_readers_folder(opened, tmp_path):
    content = made_up(2) | {"photos": {"embedded": False, "folder": ""}}
    for image in content["images"]:
        del image["webp"]
    (tmp_path / "my photos").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "my photos" / "photo-0.png")
    dom = opened(assemble(content, "0" * 64), "view=photos&photos=my+photos")
    assert (
        dom.count('<img class="photo" src="my%20photos/photo-0.png"') == 1
        and dom.count('<span class="photo gone">photo-1.png') == 1
    )


def test_the_other_views_have_their_data_as_tables(seen):
    inside, tradeoff, training = seen(made_up(3), "view=inside", "view=tradeoff", "view=training")
    assert (
        inside.count('<path class="arc') == 4
        and inside.count('<path class="arc best"') == 3
        and "<mark>cross</mark>" in inside
    )
    assert (
        '<code title="0123456789abcdef">01234567</code>' in tradeoff
        and tradeoff.count('role="img"') == 4
    )
    assert "<h3>Reward: CIDEr</h3>" in training


def test_dials_of_diversity_have_curves_and_a_mean_or_the_reason_why_not(seen):
    spots = [
        {"system": "s0", "decoding": f"T={at}", "mbleu": 0.5 + at / 10, "cider": 90.0 + at}
        for at in range(3)
    ]
    dial = {"system": "s0", "name": "temperature", "spots": spots, "seeds": 2}
    known = {"mean": 91.25, "low": 88.0, "high": 94.5, "reason": None}
    lacks = {"mean": None, "low": None, "high": None, "reason": "too narrow", "spots": []}
    curves = [dial | known, dial | {"name": "noise"} | lacks]
    content = made_up(3) | {"diversity": {"between": [0.5, 0.6], "curves": curves}}
    [tradeoff] = seen(content, "view=tradeoff")
    shown = tradeoff.split("<h2>Quality against diversity</h2>")[1]
    assert "System 0: temperature" in shown and "System 0: noise" in shown
    assert "88.0 to 94.5" in shown and "91.3" in shown.replace("91.2", "91.3")
    assert '<span title="too narrow">n/a</span>' in shown
    assert "Mean CIDEr over mBLEU-4 0.5 to 0.6" in shown and "System 0, T=2" in shown


def test_of_five_thousand_photos_one_page_is_shown(opened):
    dom = opened(assemble(made_up(5000, rows=12), "0" * 64), "view=photos&sort=disagreement&q=red")
    assert len(files_of(dom)) == 24 and "of 5,000 photos" in dom
