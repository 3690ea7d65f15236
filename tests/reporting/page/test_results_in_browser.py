"""The page in a real browser: the leaderboard, marks of captions, and what is left out."""

import html
import re

from browser import WITH_BROWSER, files_of
from dsacap.reporting.page.board import QUALITY, Cell, board
from pages import made_up

pytestmark = WITH_BROWSER


def systems_of(dom: str) -> list[str]:
    """The first cells of the rows of the first table: the leaderboard."""
    body = re.search("<tbody>(.*?)</tbody>", dom, re.DOTALL)[1]
    return [
        html.unescape(re.sub("<[^>]*>", "", cell)).strip()
        for cell in re.findall('<th scope="row">(.*?)</th>', body, re.DOTALL)
    ]


def several_decodings() -> dict:
    """Two systems with two decodings each; the second decoding of the first system is the best."""
    values = {("s0", "greedy"): 80, ("s0", "beam"): 95, ("s1", "greedy"): 94, ("s1", "beam"): 70}
    rows = [
        (
            {"system": s, "label": s.upper(), "decoding": d, "first": d == "greedy"},
            {"CIDEr": Cell(value, value - 2, value + 2), "SPICE": Cell(100 - value)},
        )
        for (s, d), value in values.items()
    ]
    return made_up(2) | {"board": board(rows, QUALITY)}


def test_the_page_opens_with_the_leaderboard_which_is_sorted_and_filtered(seen):
    dom, by_spice, best, one = seen(
        several_decodings(),
        "",
        "decodings=all&column=SPICE",
        "decodings=best&column=-CIDEr",
        "of=s0&decodings=all",
    )
    assert systems_of(dom) == ["S1 greedy", "S0 greedy"]
    assert "2 more rows, of other systems or decodings." in dom
    assert '<strong class="tie" title="within the interval of the best">94.0</strong>' in dom
    assert (
        "Made on 24 November 2026 from commit c0ffee0 and 1 more.</p></footer>" in dom
        and "@misc{made-up}" in dom
        and '<a href="table.md">' in dom
        and "<summary>The other commit</summary>" in dom
        and "x100, as papers print them: CIDEr, SPICE. ±: half" in dom
    )
    assert systems_of(by_spice) == ["S1 beam", "S0 greedy", "S1 greedy", "S0 beam"]
    assert 'aria-sort="descending"' in by_spice and "more row" not in by_spice
    assert systems_of(best) == ["S1 greedy", "S0 beam"]
    assert systems_of(one) == ["S0 beam", "S0 greedy"]


def test_views_and_parts_without_content_are_left_out(seen):
    content = made_up(2) | {"tradeoff": [], "curves": [], "insides": {}, "findings": None}
    content |= {"citation": None, "files": [], "note": None, "signatures": []}
    (dom,) = seen(content, "view=training")
    assert re.findall("#view=([a-z]+)", dom) == ["results", "photos"]
    assert systems_of(dom) and "cite" not in dom and "Verdicts" not in dom
    assert '<p id="note" hidden="">' in dom


def test_captions_are_marked_and_photos_with_false_ones_are_found(seen):
    marks = {"kind": "truth", "names": ["true", "false"], "rows": [["0", "1", "0"], ["0"] * 3]}
    content = made_up(3, rows=2) | {"marks": marks}
    dom, good = seen(content, "view=photos&only=bad", "view=photos&only=good")
    assert files_of(dom) == ["photo-1.png"] and "1 of 3 photos; with a false caption" in dom
    assert dom.count('<span class="sign bad" role="img" aria-label="false"') == 1
    assert dom.count('<span class="sign good" role="img" aria-label="true"') == 1
    assert files_of(good) == ["photo-0.png", "photo-2.png"]


def test_the_rows_by_which_photos_are_sorted_are_shown_and_systems_switched_off_are_not(seen):
    asked = "view=photos&row=s1/greedy&sort=difference&by=s0/greedy&minus=s2/greedy"
    sorted_photos, tradeoff = seen(made_up(2), asked, "view=tradeoff&off=s1")
    assert re.findall('<th scope="row">(.*?)</th>', sorted_photos)[:3] == [
        "System 0, greedy",
        "System 1, greedy",
        "System 2, greedy",
    ]
    plot = re.search(r'<svg width="[0-9]+" height="3.*?</svg>', tradeoff, re.DOTALL)[0]
    assert "System 0" in plot and "System 1" not in plot
    assert 'name="key s1" aria-pressed="false"' in tradeoff and "CIDEr (x100)" in plot
    assert "(log scale)" in plot and "milliseconds to decode one image" in plot
