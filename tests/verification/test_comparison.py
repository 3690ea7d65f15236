"""Which cells count as equal, and what is reported of a table."""

import pytest

from dsacap.runs.stage_table import VERSIONS
from dsacap.verification.committed import Cell, Committed, Numbers, RowName, load_committed
from dsacap.verification.comparison import compare, is_within_rounding, render
from dsacap.verification.scoring import Scored
from handmade import HandMade

GREEDY = RowName("ar", "greedy", 0)
HUMANS = RowName("human", "references", None)


@pytest.fixture
def made() -> HandMade:
    made = HandMade()
    for name, manifest in made.manifests.items():
        manifest["version"] = VERSIONS["score"] if name.startswith("score") else 1
    made.rows.append({**made.rows[1], "metric": "SPICE", "value": 40.0})
    return made


def scored(row: RowName, metric: str = "CIDEr", no_spice: str | None = None, **changes) -> Scored:
    """Return the scores that the hand-made table has for a row, with some changes."""
    as_committed = {
        GREEDY: Numbers(100.0, 95.0, 105.0, 6),
        HUMANS: Numbers(70.0, None, None, 6),
    }
    return Scored(row, {metric: as_committed[row]._replace(**changes)}, no_spice)


def of_humans() -> Scored:
    return scored(HUMANS, "held_out_CIDEr")


def loaded(made: HandMade, folder) -> Committed:
    return load_committed(made.write(folder))


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Keep lines whole, however long the temporary folder's name is."""
    monkeypatch.setattr("dsacap.audit.text._WIDEST", 1000)
    monkeypatch.setenv("COLUMNS", "1000")


def test_every_quality_cell_is_accounted_for(made, tmp_path):
    table = loaded(made, tmp_path)
    outcome = compare(table, [of_humans(), scored(GREEDY, no_spice="left out (--no-spice)")])
    assert (outcome.same, outcome.rounded, outcome.differ, outcome.total) == (2, 0, [], 6)
    reasons = {"no captions of their rows are committed": 3, "SPICE, left out (--no-spice)": 1}
    assert outcome.not_computed == reasons
    assert render(table, outcome).splitlines() == [
        f"{tmp_path}: of 6 quality cells 2 are equal to the last bit, 0 differ.",
        "  3 not computed: no captions of their rows are committed.",
        "  1 not computed: SPICE, left out (--no-spice).",
        "  6 other cells (latency, memory, training) do not come from captions.",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 100.00000000000001},
        {"ci_low": 95.00000000000001},
        {"ci_high": 104.99999999999999},
        {"ci_high": None},
        {"n": 5},
    ],
)
def test_a_table_of_this_version_is_equal_to_the_last_bit_or_differs(made, tmp_path, changes):
    table = loaded(made, tmp_path)
    outcome = compare(table, [of_humans(), scored(GREEDY, no_spice="-", **changes)])
    [(cell, committed, computed)] = outcome.differ
    assert cell == Cell(GREEDY, "CIDEr") and str(cell) == "ar (seed 0), greedy, CIDEr"
    assert committed == Numbers(100.0, 95.0, 105.0, 6) and computed == committed._replace(**changes)
    line = "ar (seed 0), greedy, CIDEr: committed 100.0 (95.0 to 105.0) of 6"
    assert line in render(table, outcome)


def test_a_table_of_an_earlier_version_may_be_rounded_otherwise(made, tmp_path):
    made.manifests["score ar seed 0"]["version"] = VERSIONS["score"] - 1
    table = loaded(made, tmp_path)
    near = scored(GREEDY, no_spice="-", value=100.00000000000001)
    outcome = compare(table, [of_humans(), near])
    assert (outcome.same, outcome.rounded, outcome.differ) == (1, 1, [])
    assert "1 within the rounding of an earlier version" in " ".join(render(table, outcome).split())
    far = scored(GREEDY, no_spice="-", value=100.000000001)
    assert len(compare(table, [of_humans(), far]).differ) == 1


def test_self_cider_was_rounded_more():
    committed = Numbers(0.5, 0.4, 0.6, 6)
    near, far = (committed._replace(ci_low=0.4 + off) for off in (3e-9, 3e-8))
    assert is_within_rounding("Self-CIDEr", committed, near)
    assert not is_within_rounding("Self-CIDEr", committed, far)
    assert not is_within_rounding("CIDEr", committed, near)
    assert not is_within_rounding("CIDEr", committed, committed._replace(ci_low=None))


def test_a_number_that_captions_do_not_give_differs(made, tmp_path):
    made.rows.append({**made.rows[1], "metric": "typed-in", "value": 1.0})
    table = loaded(made, tmp_path)
    outcome = compare(table, [of_humans(), scored(GREEDY, no_spice="-")])
    assert [cell.metric for cell, _, _ in outcome.differ] == ["typed-in"]
    line = "typed-in: committed 1.0 (95.0 to 105.0) of 6, computed nothing"
    assert line in render(table, outcome)
    assert compare(table, [of_humans(), scored(GREEDY)]).differ[0][0].metric == "SPICE"  # no reason


def test_only_the_first_of_many_differences_are_shown(made, tmp_path):
    made.rows += [{**made.rows[1], "metric": f"m{n}", "value": 1.0} for n in range(10)]
    table = loaded(made, tmp_path)
    lines = render(table, compare(table, [scored(GREEDY, no_spice="-")])).splitlines()
    assert sum("computed nothing" in line for line in lines) == 8 and "  ... and 2 more" in lines
