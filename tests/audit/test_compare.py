import json
from pathlib import Path

import pytest

from dsacap.audit import causes, environment
from dsacap.audit.compare import compare
from dsacap.audit.diff import as_json, render
from dsacap.cli.main import main
from dsacap.reporting.table_file import load_table

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture
def differ(made, tmp_path):
    """Return a function that compares a table with one changed by `change`.

    The value of the cell dsacap K=1 CIDEr is changed too.
    """

    def found(change, value=92.0, against=None):
        old, new = against or made(), made()
        change(new)
        new.set_value("dsacap", "K=1", value)
        return compare(load_table(old.write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))

    return found


def causes_named(found) -> set[tuple[str, str, str, str]]:
    (difference,) = found.scores
    return {(cause.kind, cause.what, cause.old, cause.new) for cause in difference.causes}


def of_all(key, value):
    """Return a change that sets a dotted key of every manifest."""

    def change(table):
        for manifest in table.manifests.values():
            *path, last = key.split(".")
            for part in path:
                manifest = manifest[part]
            manifest[last] = value

    return change


def test_the_same_table_twice_has_no_difference(made, tmp_path):
    found = compare(*(load_table(made().write(tmp_path / name)) for name in "ab"))
    assert not found.differs and not found.measured and found.same == 11
    assert "No difference: 11 cells are the same, 0 changed" in render(found)


def test_a_difference_without_a_recorded_cause_is_unknown(differ):
    assert causes_named(differ(lambda new: None)) == {
        ("unknown", "nothing that the manifests record differs", "", "")
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda c: c["systems"]["dsacap"]["model"].update(width=32),
            ("configuration", "systems.dsacap.model.width", "16", "32"),
        ),
        (lambda c: c["training"].update(steps=99), ("configuration", "training.steps", "12", "99")),
        (
            lambda c: c["encoder"]["train"].update(steps=9),
            ("configuration", "encoder.train.steps", "2", "9"),
        ),
        (
            lambda c: c["systems"]["dsacap"]["decodings"]["K=1"].update(noise_level=0.5),
            ("configuration", "systems.dsacap.decodings.K=1.noise_level", "0.3", "0.5"),
        ),
        (lambda c: c["dataset"].update(train=48), ("configuration", "dataset.train", "24", "48")),
        (lambda c: c["decoding"].update(seed=7), ("seed", "decoding.seed", "0", "7")),
        (lambda c: c["dataset"].update(seed=7), ("seed", "dataset.seed", "0", "7")),
    ],
)
def test_a_key_of_the_configuration_is_named(differ, change, expected):
    assert causes_named(differ(lambda new: new.set_config(change))) == {expected}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["systems"]["ar"]["model"].update(width=64),  # another system's
        lambda c: c["systems"]["dsacap-rl"]["tuning"].update(kl=0.9),
        lambda c: c["timing"].update(rounds=9),  # measures time alone
        lambda c: c.update(note="another note"),
        lambda c: c["training"].pop("ema"),  # a default that the other side's code did not know
    ],
)
def test_a_key_that_cannot_reach_the_cell_is_not_named(differ, change):
    assert {kind for kind, *_ in causes_named(differ(lambda new: new.set_config(change)))} == {
        "unknown"
    }


def test_a_key_that_only_one_side_knows_counts_where_it_is_no_default(differ, made):
    old = made().set_config(lambda c: c["training"].pop("ema"))
    named = causes_named(
        differ(lambda new: new.set_config(lambda c: c["training"].update(ema=0.5)), against=old)
    )
    assert named == {("configuration", "training.ema", "absent", "0.5")}


def set_data(new, digest="b"):
    new.manifests["data"]["facts"]["sha256"] = {"captions.jsonl": digest * 64}


def set_signature(new):
    new.signatures["CIDEr"] = "CIDEr-D|n:4|jar:sha256:bbb|v:0.2.0"


def set_device(new):
    new.manifests["train dsacap seed 0"]["facts"]["device"] = "cuda"


def set_gpu(new):
    new.manifests["train dsacap seed 0"]["host"]["gpu"] = {"device": "H100", "driver_version": "2"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda new: new.manifests["features"]["facts"].update(skipped={"3": "torn"}),
            ("data", "skipped photos", "0", "1"),
        ),
        (set_signature, ("signature", "jar", "sha256:aaa", "sha256:bbb")),
        (of_all("host.packages", {"torch": "2.1"}), ("versions", "torch", "2.0", "2.1")),
        (of_all("host.python", "3.12"), ("versions", "python", "3.11", "3.12")),
        (of_all("host.cpu", "slide rule"), ("hardware", "CPU", "abacus", "slide rule")),
        (set_device, ("hardware", "device", "cpu", "cuda")),
        (of_all("code.dirty", True), ("code", "uncommitted changes", "no", "yes")),
        (
            of_all("code.lock", "e" * 64),
            ("versions", "lock file (not in this checkout)", "f" * 12, "e" * 12),
        ),
    ],
)
def test_every_other_cause_is_named_alone(differ, change, expected):
    assert causes_named(differ(change)) == {expected}


def test_other_captions_are_named_and_the_same_clear_the_data_stage(differ, made):
    old = made()
    set_data(old, "a")
    assert causes_named(differ(set_data, against=old)) == {
        ("data", "captions.jsonl", "a" * 12, "b" * 12)
    }
    set_data(old, "b")
    found = differ(
        lambda new: (set_data(new), new.set_config(lambda c: c["dataset"].update(seed=7))),
        against=old,
    )
    assert {kind for kind, *_ in causes_named(found)} == {"unknown"}


def test_a_driver_is_named(differ, made):
    old = made()
    old.manifests["train dsacap seed 0"]["host"]["gpu"] = {"device": "H100", "driver_version": "1"}
    assert causes_named(differ(set_gpu, against=old)) == {("hardware", "driver", "1", "2")}


def test_code_is_named_by_what_changed_in_what_the_stage_runs(differ, monkeypatch):
    asked = []

    def changed(old, new, files):
        asked.append(files)
        return ["dsacap/method/dag.py"] if "dsacap/method/dag.py" in files else []

    monkeypatch.setattr(causes, "_changed", changed)
    named = causes_named(differ(of_all("code.commit", "d" * 40)))
    assert named == {
        (
            "code",
            "dsacap/method/dag.py (meant to leave the result unchanged)",
            "c0ffee00",
            "dddddddd",
        )
    }
    # The files of the score stage are asked about too.
    assert any(
        "dsacap/scoring/metrics/cider.py" in files and "dsacap/method/dag.py" not in files
        for files in asked
    )


def test_a_raised_version_of_a_stage_means_an_intended_change(differ, monkeypatch):
    monkeypatch.setattr(causes, "_changed", lambda old, new, files: ["x.py"])
    named = causes_named(
        differ(lambda new: (of_all("code.commit", "d" * 40)(new), of_all("version", 2)(new)))
    )
    assert named == {
        (
            "code",
            "x.py (meant to change the result: stage version 1 -> 2)",
            "c0ffee00",
            "dddddddd",
        )
    }


def test_a_commit_that_git_does_not_know_is_reported(differ):
    ((kind, what, *_),) = causes_named(differ(of_all("code.commit", "d" * 40)))
    assert kind == "code" and "not in this checkout" in what


def test_pins_that_moved_are_named_and_new_ones_are_not(differ, monkeypatch):
    locks = {
        "c0ffee" + "0" * 34: {"torch": "2.0", "pillow": "11"},
        "d" * 40: {"torch": "2.0", "pillow": "12", "rocrate": "1"},
    }
    monkeypatch.setattr(environment, "_pins", locks.get)
    monkeypatch.setattr(causes, "_changed", lambda old, new, files: [])
    named = causes_named(
        differ(
            lambda new: (of_all("code.commit", "d" * 40)(new), of_all("code.lock", "e" * 64)(new))
        )
    )
    assert named == {("versions", "pillow (lock file)", "11", "12")}


def test_several_causes_are_all_named_with_their_stages(differ, made):
    old = made()
    set_data(old, "a")

    def change(new):
        set_data(new)
        set_signature(new)
        of_all("host.cpu", "slide rule")(new)
        new.set_config(lambda c: c["training"].update(steps=99))

    (difference,) = differ(change, against=old).scores
    assert {cause.kind for cause in difference.causes} == {
        "data",
        "signature",
        "hardware",
        "configuration",
    }
    stages = {cause.kind: stages for cause, stages in difference.causes.items()}
    assert stages["data"] == ("data",) and stages["configuration"] == ("train dsacap seed 0",)
    assert (
        stages["hardware"][-1] == "score dsacap seed 0"
        and "train ar seed 0" not in stages["hardware"]
    )


def test_stages_before_one_that_wrote_the_same_are_no_cause(differ, made):
    old = made()
    old.manifests["caption dsacap seed 0"]["outputs"] = {"x/captions.json": "1" * 64}

    def change(new):
        new.set_config(
            lambda c: (c["training"].update(steps=99), c["scoring"].update(spice="auto"))
        )
        new.manifests["caption dsacap seed 0"]["outputs"] = {"y/captions.json": "1" * 64}

    pruned = ("configuration", "scoring.spice", "off", "auto")
    assert causes_named(differ(change, against=old)) == {pruned}
    old.manifests["caption dsacap seed 0"]["outputs"] = {"x/captions.json": "2" * 64}
    assert causes_named(differ(change, against=old)) == {
        pruned,
        ("configuration", "training.steps", "12", "99"),
    }


def test_a_tuned_row_depends_on_what_it_was_tuned_from(made, tmp_path):
    new = made().set_config(
        lambda c: (
            c["systems"]["dsacap"]["model"].update(width=32),
            c["generator"]["train"].update(steps=9),
        )
    )
    new.set_value("dsacap-rl", "K=1", 112)
    (difference,) = compare(
        load_table(made().write(tmp_path / "a")), load_table(new.write(tmp_path / "b"))
    ).scores
    assert {cause.what for cause in difference.causes} == {
        "systems.dsacap.model.width",
        "generator.train.steps",
    }


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
    of_all("host.cpu", "slide rule")(new)
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
