import pytest

from dsacap.reporting.svg_figure import spread


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([0.5, 0.9], [0.5, 0.9]),
        ([0.5, 0.5], [0.5, 0.4]),
        ([1.2, 0.0, 0.05], [1.0, 0.0, 0.1]),
        ([0.0] * 3, [0.2, 0.1, 0.0]),
    ],
)
def test_labels_are_spread_without_overlap(wanted, places):
    assert spread(wanted, 0.1) == pytest.approx(places)


def test_more_labels_than_fit_go_below_the_panel():
    found = spread([0.5] * 15, 0.1)
    assert found == pytest.approx([1 - 0.1 * at for at in range(15)])
