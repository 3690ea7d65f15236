import pandas as pd
import pytest

from dsacap.reporting.table import COLUMNS
from dsacap.reporting.tradeoff import on_front, points, tradeoff_section, write_plot

LABELS = {"ar": "Autoregressive", "dsacap": "DSACap"}


@pytest.fixture
def numbers() -> pd.DataFrame:
    """(system, decoding, K, CIDEr of two seeds, ms, images/s)."""
    rows = []
    for system, decoding, steps, ciders, ms, per_s in (
        ("ar", "greedy", None, (100, 102), 8.0, 125),
        ("ar", "beam=3", None, (110, 112), 16.0, 62),
        ("dsacap", "K=1", 1, (99, 100), 2.0, 500),
        ("dsacap", "K=4", 4, (98, 99), 7.0, 140),
    ):
        made = {"latency_median_ms_batch_1": [(None, ms)], "latency_images_per_s_batch_1": [(None, per_s)], "CIDEr": enumerate(ciders)}
        rows += [
            ("tiny", system, decoding, steps, seed, metric, value, None, None, 5, "x")
            for metric, values in made.items()
            for seed, value in values
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_the_front_is_what_nothing_beats_in_both():
    assert on_front([1, 2, 3, 3, 0.5], [5, 9, 9, 10, 1]) == [True, True, False, True, True]
    assert on_front([1, 1], [2, 2]) == [True, True]  # equals do not beat each other


def test_points_are_means_over_seeds_with_their_steps(numbers):
    found = points(numbers, 1).set_index(["system", "decoding"])
    assert found.quality.to_dict() == {("ar", "greedy"): 101, ("ar", "beam=3"): 111, ("dsacap", "K=1"): 99.5, ("dsacap", "K=4"): 98.5}
    assert found.front.to_list() == [True, True, True, False] and found.loc[("dsacap", "K=4")].steps == 4
    assert points(numbers, 32).empty


def test_section_goes_from_fast_to_slow(numbers):
    text = tradeoff_section(numbers, LABELS, [1, 32], "table.svg")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert [line[1:] for line in lines[1:]] == [
        ["K=1", "1", "2.0", "99.5", "*"],
        ["K=4", "4", "7.0", "98.5", ""],
        ["greedy", "-", "8.0", "101.0", "*"],
        ["beam=3", "-", "16.0", "111.0", "*"],
    ]
    assert "Batch 32" not in text and "![Quality against latency](table.svg)" in text
    assert tradeoff_section(numbers[numbers.metric == "CIDEr"], LABELS, [1], "table.svg") == ""


def test_plot_is_the_same_file_every_time(numbers, tmp_path):
    for name in ("a", "b"):
        write_plot(numbers, LABELS, [1, 32], tmp_path / f"{name}.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "Autoregressive" in text and "DSACap" in text and "batch 32" in text
