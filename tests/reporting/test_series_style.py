"""Systems can be told apart by their colours, markers and labels, also by colour-blind readers."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from dsacap.reporting.series_style import COLOURS, MARKERS, colour_rules, styles_of

# Linear RGB as a reader without one kind of cone sees it: Machado, Oliveira & Fernandes, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, severity 1.0.
VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}
XYZ = np.array(  # of linear sRGB: IEC 61966-2-1
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
BACKGROUNDS = ("#ffffff", "#14171c")  # of page.css


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = XYZ @ np.clip(rgb, 0, 1) / (XYZ @ np.ones(3))
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """The difference of two colours in CIELAB: Sharma, Wu & Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(c7 / (c7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for b, a in ((b1, a1), (b2, a2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    mean_l, mean_c, mean_h = (l1 + l2) / 2, (c1 + c2) / 2, h1 + turn / 2
    if not c1 * c2:
        mean_h = h1 + h2
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    theta = 30 * np.exp(-(((mean_h % 360 - 275) / 25) ** 2))
    r_t = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25**7)) * np.sin(np.radians(2 * theta))
    dl, dc, dh = (l2 - l1) / s_l, (c2 - c1) / s_c, dh / s_h
    return float(np.sqrt(dl**2 + dc**2 + dh**2 + r_t * dc * dh))


def test_the_difference_is_that_of_published_pairs():
    # Pairs 1, 7, 17 and 20 of Sharma, Wu & Dalal's table 1.
    for one, other, difference in (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (50, 3.2592, 0.335), 1.0),
    ):
        assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=5e-4)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("background", (0, 1))
def test_any_two_colours_differ_for_every_reader(vision, background):
    seen = [lab(VISIONS[vision] @ linear(colours[background])) for colours in COLOURS]
    assert min(ciede2000(a, b) for a, b in combinations(seen, 2)) >= 10


@pytest.mark.parametrize("background", (0, 1))
def test_colours_stand_out_from_their_background(background):
    behind = (XYZ @ linear(BACKGROUNDS[background]))[1] + 0.05
    for colours in COLOURS:
        before = (XYZ @ linear(colours[background]))[1] + 0.05
        assert max(before / behind, behind / before) >= 3


def test_fifty_systems_have_fifty_styles():
    styles = styles_of(f"system {at}" for at in range(50))
    assert len(set(styles.values())) == 50
    neighbours = list(styles.values())
    assert all(a.colour != b.colour and a.marker != b.marker for a, b in pairwise(neighbours))
    assert {style.marker for style in neighbours} == set(MARKERS)


def test_the_page_has_a_rule_for_each_colour_and_background():
    rules = colour_rules()
    for at, (light, dark) in enumerate(COLOURS):
        assert f".s{at} {{ color: {light}; }}" in rules.split("@media")[0]
        assert f".s{at} {{ color: {dark}; }}" in rules.split("@media")[1]
