"""Which cells of two tables differ, and by how much."""

import json
from pathlib import Path

import pytest

from dsacap.audit.compare import compare
from dsacap.audit.diff import as_json, render
from dsacap.cli.main import main
from dsacap.reporting.table_file import load_table

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_the_same_table_twice_has_no_difference(made, tmp_path):
    found = compare(*(load_table(made().write(tmp_path / name)) for name in "ab"))
    assert not found.differs and not found.measured and found.same == 11
    assert "No difference: 11 cells are the same, 0 changed" in render(found)


@pytest.mark.parametrize(
    ("value", "against"), [(92.0, "within"), (96.0, "beyond"), (84.0, "beyond")]
)
def test_changes_are_compared_with_their_intervals(differ, value, against):
    (difference,) = differ(lambda new: None, value=value).scores
    assert difference.against == against and difference.change == value - 90


def test_a_change_outside_one_interval_alone_is_partly(differ):
    def narrow(new):
        for row in new.rows:
            if row["metric"] == "CIDEr":
                row.update(ci_low=row["value"] - 1, ci_high=row["value"] + 1)

    found = differ(narrow, value=93.0)
    assert {d.system: d.against for d in found.scores}["dsacap"] == "partly"


def test_rows_of_one_side_are_named(made, tmp_path):
    new = made()
    new.rows = [row for row in new.rows if row["decoding"] != "T=1"] + [
        {**new.rows[1], "metric": "SPICE"}
    ]
    found = compare(load_table(made().write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))
    text = render(found)
    assert (
        found.differs
        and "Only in A\n\n  ar: T=1" in text
        and "Only in B\n\n  SPICE of ar: greedy" in text
    )


def test_other_seeds_are_a_cause(made, tmp_path):
    new = made(seeds=(0, 1)).set_value("ar", "greedy", 103)
    found = compare(load_table(made().write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))
    difference = next(d for d in found.scores if (d.system, d.decoding) == ("ar", "greedy"))
    assert [str(cause) for cause in difference.causes] == [
        "seeds of the row: 0 -> 0, 1"
    ] and difference.new.value == 103


def test_times_are_reported_apart(made, tmp_path):
    old, new = made(), made().set_value("ar", "greedy", 4.0, "latency_median_ms_batch_1")
    found = compare(load_table(old.write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))
    assert (
        not found.differs and len(found.measured) == 1 and ", B / A: median 2.00" in render(found)
    )
    for manifest in new.manifests.values():
        manifest["host"]["cpu"] = "slide rule"
    found = compare(load_table(old.write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))
    text = " ".join(render(found).split())  # where lines break depends on the folder's name
    assert (
        "not comparable, because the machines differ: CPU: abacus -> slide rule" in text
        and ", B / A: median 2.00" not in text
    )


def test_a_measurement_that_one_side_lacks_is_no_difference(made, tmp_path):
    new = made()
    new.rows = [row for row in new.rows if not row["metric"].startswith("latency")]
    found = compare(load_table(made().write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))
    text = render(found)
    assert (
        not found.differs
        and "No difference" in text
        and "Only in A\n\n  latency_median_ms_batch_1 of 4 rows" in text
    )


def test_memory_is_measured_too(made, tmp_path):
    tables = [made(), made()]
    for table, value in zip(tables, (500.0, 600.0), strict=True):
        table.rows.append(
            {
                **table.rows[-1],
                "system": "ar",
                "decoding": "",
                "seed": None,
                "metric": "memory_process_mib",
                "value": value,
            }
        )
    found = compare(
        *(
            load_table(table.write(tmp_path / name))
            for table, name in zip(tables, "ab", strict=True)
        )
    )
    assert not found.differs and "memory, B / A: median 1.20" in render(found)


def test_exit_status_is_that_of_diff(made, tmp_path, capsys):
    made().write(tmp_path / "a")
    made().set_value("ar", "greedy", 102).write(tmp_path / "b")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["diff", a, a]) == 0 and "No difference" in capsys.readouterr().out
    assert main(["diff", a, b]) == 1 and "greedy" in capsys.readouterr().out
    assert main(["diff", a, str(tmp_path / "c")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["diff", a, b, "--json"]) == 1
    (cell,) = json.loads(capsys.readouterr().out)["changed"]
    assert (
        cell["system"] == "ar"
        and cell["a"]["value"] == 100
        and cell["change"] == 2
        and cell["causes"][0]["kind"] == "unknown"
    )


def test_numbers_without_manifests_can_be_compared_but_not_explained(made, tmp_path):
    made().write(tmp_path / "a")
    made().set_value("ar", "greedy", 102).write(tmp_path / "b")
    (tmp_path / "b" / "table.json").unlink()
    (difference,) = compare(load_table(tmp_path / "a"), load_table(tmp_path / "b")).scores
    ((cause, _),) = difference.causes.items()
    assert cause.kind == "unknown" and "no manifests next to" in cause.what


def test_committed_tables_compare():
    scenes, longer = (load_table(RESULTS / name) for name in ("scenes", "scenes-long"))
    found = compare(scenes, longer)
    difference = next(
        d for d in found.scores if (d.system, d.decoding, d.metric) == ("ar", "greedy", "CIDEr")
    )
    assert ("training.steps", "1200", "12000") in {
        (c.what, c.old, c.new) for c in difference.causes
    }
    assert as_json(found)["differs"] and "training.steps: 1200 -> 12000" in render(
        found, cells=True
    )
