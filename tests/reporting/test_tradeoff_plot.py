import pandas as pd

from dsacap.reporting.series_style import COLOURS
from dsacap.reporting.tradeoff_plot import write_plot

LABELS = {"ar": "Autoregressive", "dsacap": "DSACap & co"}


def test_the_plot_is_the_same_file_every_time(numbers, tmp_path):
    for name in ("a", "b"):
        write_plot(numbers, LABELS, [1, 32], tmp_path / f"{name}.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "Autoregressive" in text and "DSACap &amp; co" in text
    assert "Quality against latency, one image at a time" in text
    assert "32 images" not in text  # which was not timed


def test_systems_keep_their_colours_and_readers_of_dark_pages_get_others(numbers, tmp_path):
    write_plot(numbers, LABELS, [1], tmp_path / "all.svg")
    write_plot(numbers[numbers.system == "dsacap"], LABELS, [1], tmp_path / "one.svg")
    (first, _), (second, dark) = COLOURS[:2]
    whole, one = ((tmp_path / name).read_text() for name in ("all.svg", "one.svg"))
    assert f"fill: {first}" in whole.split("</style>", 1)[1]
    assert f"fill: {second}" in one and f"fill: {first}" not in one.split("</style>", 1)[1]
    assert f'[style*="fill: {second}"]{{fill:{dark}!important}}' in whole


def test_intervals_are_drawn_where_there_are_some(numbers, tmp_path):
    write_plot(numbers, LABELS, [1], tmp_path / "without.svg")
    known = numbers.metric == "CIDEr"
    measured = numbers.assign(
        ci_low=numbers.value.where(known) - 3.0, ci_high=numbers.value.where(known) + 3.0
    )
    write_plot(measured, LABELS, [1], tmp_path / "with.svg")
    bars = [
        (tmp_path / f"{name}.svg").read_text().split("</style>", 1)[1].count("stroke-width: 1.1")
        for name in ("without", "with")
    ]
    assert bars == [0, 4]


def test_without_latency_there_is_no_plot(numbers, tmp_path):
    (tmp_path / "table.svg").write_text("of another run")
    write_plot(numbers[numbers.metric == "CIDEr"], LABELS, [1], tmp_path / "table.svg")
    assert not (tmp_path / "table.svg").exists()


def test_points_have_the_interval_of_their_quality(numbers):
    from dsacap.reporting.tradeoff import points

    assert points(numbers, 1).low.isna().all()
    known = numbers.assign(ci_low=pd.Series(1.0, numbers.index), ci_high=2.0)
    assert points(known, 1).low.tolist() == [1.0] * 4 and points(known, 1).high.tolist() == [2] * 4
