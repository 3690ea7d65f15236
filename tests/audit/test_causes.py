"""The causes of a difference between two tables: each is named, with its stage, and no other."""

import pytest

from dsacap.audit import causes, environment
from dsacap.audit.compare import compare
from dsacap.reporting.table_file import load_table


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
