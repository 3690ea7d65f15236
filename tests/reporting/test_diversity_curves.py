"""Quality against diversity in tables: curves, mean CIDEr over the range, and why there is none."""

import json
import re

import numpy as np
import pytest

from dsacap.common.files import read_json
from dsacap.config.claims import Diversity
from dsacap.reporting.diversity_curves import diversity_curves, diversity_section
from dsacap.runs.layout import Layout, diversity_plot_of
from dsacap.scoring.metrics.diversity import diversity
from helpers import tiny_config

RNG = np.random.default_rng(2)
WORDS = list("abcdefgh")
IMAGES = [str(i) for i in range(12)]
DIALS = {"ar": {"temperature": ["T=1", "T=0.5"]}, "dsacap": {"noise": ["K=1", "K=2"]}}
DECODINGS = {
    "ar": {"greedy": {}, "T=1": {"temperature": 1.0}, "T=0.5": {"temperature": 0.5}},
    "dsacap": {"K=1": {"noise_level": 0.3}, "K=2": {"noise_level": 0.3, "steps": 2}},
}


def samples_of(alike: float) -> list[str]:
    first = RNG.choice(WORDS, size=8)
    others = (np.where(RNG.random(8) < alike, first, RNG.choice(WORDS, size=8)) for _ in range(2))
    return [" ".join(words) for words in (first, *others)]


def finish(layout: Layout, system: str, seed: int, made: dict[str, tuple[float, float]]) -> None:
    """Write captions and scores of decodings: name -> (how alike captions are, CIDEr)."""
    captions, scores = {}, {}
    for name, (alike, cider) in made.items():
        captions[name] = {image: samples_of(alike) for image in IMAGES}
        value = diversity(captions[name], set())["mBLEU-4"].corpus
        found = {"mBLEU-4": {"value": value}} if alike < 1 else {}
        per_image = {image: cider + 0.01 * (int(image) - 5.5) for image in IMAGES}
        quality = {"CIDEr": {"value": cider, "per_image": per_image}}
        scores[name] = {"quality": quality, "diversity": found}
    for path, content in (
        (layout.captions(system, seed), captions),
        (layout.scores(system, seed), scores),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


@pytest.fixture
def layout(tmp_path) -> Layout:
    """AR covers the range; DSACap does not."""
    plain = tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    for system, decodings in DECODINGS.items():
        plain["systems"][system]["decodings"] = decodings
    section = {"between": [0.3, 0.6], "dials": DIALS}
    layout = Layout(
        tiny_config(tmp_path, systems=plain["systems"], seeds=[0, 1], diversity=section)
    )
    for seed in (0, 1):
        made = {"greedy": (1.0, 2.5), "T=1": (0.3, 1.0 + 0.2 * seed), "T=0.5": (0.95, 2.0)}
        finish(layout, "ar", seed, made)
        finish(layout, "dsacap", seed, {"K=1": (0.95, 2.6), "K=2": (0.9, 2.4)})
    layout.table.parent.mkdir(parents=True)
    return layout


def cells_of(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_area_is_the_mean_over_seeds_of_interpolated_cider(layout):
    curve = diversity_curves(layout)[0]
    by_seed = []
    for seed in (0, 1):
        scores = read_json(layout.scores("ar", seed))
        low, high = (scores[name]["diversity"]["mBLEU-4"]["value"] for name in ("T=1", "T=0.5"))
        assert low < 0.3 and high > 0.6
        c = 100 + 20 * seed  # CIDEr of T=1; that of T=0.5 is 200. The middle of the range is .45.
        by_seed.append(c + (200 - c) * (0.45 - low) / (high - low))
    assert curve.mean.value == pytest.approx(np.mean(by_seed))
    assert curve.mean.low < min(by_seed) and curve.mean.high > max(by_seed)  # two seeds say little
    assert [spot.decoding for spot in curve.spots] == ["T=1", "T=0.5"] and curve.seeds == 2
    assert [spot.cider for spot in curve.spots] == pytest.approx([110, 200])


def test_the_section_has_a_row_for_each_dial_and_says_why_one_has_no_area(layout):
    text = "\n\n".join(diversity_section(layout, layout.table))
    mean = diversity_curves(layout)[0].mean
    found = cells_of(text, "ar")
    assert found[1:5] == [
        "temperature",
        f"{mean.value:.1f}",
        f"{mean.low:.1f} to {mean.high:.1f}",
        "2",
    ]
    assert cells_of(text, "dsacap")[1:5] == ["noise", "n/a", "-", "2"]
    assert re.search(r"- n/a for dsacap, noise: dsacap would be extrapolated: mBLEU-4 0\.\d+", text)
    assert "over mBLEU-4 0.3 to 0.6" in text and "![Quality against diversity](table-div" in text


def test_the_plot_names_dials_and_has_decodings_of_one_caption_too(layout):
    plot = diversity_plot_of(layout.table)
    diversity_section(layout, layout.table)
    first = plot.read_text()
    diversity_section(layout, layout.table)
    assert plot.read_text() == first  # the same file every time
    assert "ar: temperature" in first and "dsacap: noise" in first
    greedy = diversity_curves(layout)
    assert all(spot.decoding != "greedy" for curve in greedy for spot in curve.spots)
    assert first.split("</style>", 1)[1].count("fill: none; stroke") > 0  # greedy, hollow


def test_a_dial_that_is_not_finished_is_named(layout):
    for seed in (0, 1):
        layout.scores("dsacap", seed).unlink()
    text = "\n\n".join(diversity_section(layout, layout.table))
    assert cells_of(text, "dsacap")[2:] == ["n/a", "-", "0", "-", "-"]
    assert "- n/a for dsacap, noise: not yet run" in text


def test_without_a_section_there_is_no_plot_of_another_run(layout, tmp_path):
    diversity_section(layout, layout.table)
    assert diversity_plot_of(layout.table).exists()
    plain = Layout(layout.config.model_copy(update={"diversity": None}))
    assert diversity_section(plain, plain.table) == [] and diversity_curves(plain) == []
    assert not diversity_plot_of(layout.table).exists()


def test_decodings_of_one_caption_are_at_the_right_end(layout):
    dials = {"ar": {"temperature": ("T=1", "greedy")}}
    section = Diversity(between=(0.3, 0.9), dials=dials)
    widened = Layout(layout.config.model_copy(update={"diversity": section}))
    [curve] = diversity_curves(widened)
    assert curve.spots[-1].decoding == "greedy" and curve.spots[-1].mbleu == 1
