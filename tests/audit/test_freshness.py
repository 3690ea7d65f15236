import hashlib

import pytest
import yaml

from dsacap.audit import freshness
from dsacap.audit.freshness import SAME, STALE, UNCHECKED, checks_of, verdict
from dsacap.common.files import sha256
from dsacap.common.git_checkout import LOCK, ROOT
from dsacap.reporting.table_file import load_table

STAGES = ["data", "encoder", "features", "train ar seed 0", "caption ar seed 0", "score ar seed 0"]
CAPTIONS = "ar-seed0-1/captions.json"


@pytest.fixture
def checked(made, tmp_path, monkeypatch):
    """Return a function that checks the cell ar greedy CIDEr after `change` to the table.

    Before the change, its files, its configuration and this checkout are as they were.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(freshness, "files_changed", lambda commit, new, files: [])
    file = tmp_path / "work/tiny" / CAPTIONS
    file.parent.mkdir(parents=True)
    file.write_text("captions")

    def found(change=lambda table: None, config=None):
        table = made()
        digest = hashlib.sha256(b"captions").hexdigest()
        for stage, manifest in table.manifests.items():
            manifest["code"]["lock"] = sha256(ROOT / LOCK)
            manifest |= {
                "inputs": {},
                "outputs": {CAPTIONS: digest} if stage == "caption ar seed 0" else {},
            }
        table.manifests["score ar seed 0"]["inputs"] = {CAPTIONS: digest}
        for stage in STAGES:
            if stage not in ("caption ar seed 0", "score ar seed 0"):
                table.manifests[stage]["inputs"] = {CAPTIONS: digest}
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config/tiny.yaml").write_text(yaml.safe_dump(table.config, sort_keys=False))
        change(table)
        return checks_of(load_table(table.write(tmp_path / "table")), STAGES, "greedy", config)

    return found


def details(checks, what, status=STALE) -> str:
    return "\n".join(
        f"{check.detail} {check.stages}"
        for check in checks
        if check.what == what and check.status == status
    )


def test_nothing_changed(checked):
    checks = checked()
    assert verdict(checks) == SAME and {check.what for check in checks} == {
        "configuration",
        "code",
        "versions",
        "files",
    }


def test_a_changed_file_of_captions_is_stale(checked, tmp_path):
    (tmp_path / "work/tiny" / CAPTIONS).write_text("other captions")
    checks = checked()
    assert verdict(checks) == STALE and f"work/tiny/{CAPTIONS} has changed" in details(
        checks, "files"
    )


def test_a_file_that_is_not_here_is_unchecked_not_fresh(checked, tmp_path):
    (tmp_path / "work/tiny" / CAPTIONS).unlink()
    checks = checked()
    assert verdict(checks) == UNCHECKED and f"not on this machine: work/tiny/{CAPTIONS}" in details(
        checks, "files", UNCHECKED
    )
    assert not details(checks, "files", SAME)


def test_a_stage_that_ran_again_after_its_reader_is_stale(checked):
    def retrain(table):
        table.manifests["train ar seed 0"]["outputs"] = {"ar-seed0-1/model.safetensors": "1" * 64}
        table.manifests["caption ar seed 0"]["inputs"] = {"ar-seed0-1/model.safetensors": "2" * 64}

    assert (
        "read another ar-seed0-1/model.safetensors than the one in the manifest of train ar seed 0"
        in details(checked(retrain), "files")
    )


def test_a_changed_configuration_is_stale_where_it_reaches_the_cell(checked, tmp_path):
    def write(change):
        def changed(table):
            change(table.config)
            (tmp_path / "config/tiny.yaml").write_text(
                yaml.safe_dump(table.config, sort_keys=False)
            )

        return changed

    checks = checked(write(lambda c: c["training"].update(steps=99)))
    assert "training.steps: 12 -> 99 (now, in config/tiny.yaml) ('train ar seed 0',)" in details(
        checks, "configuration"
    )
    assert (
        verdict(checked(write(lambda c: c["systems"]["dsacap"]["model"].update(width=64)))) == SAME
    )
    assert "systems.ar: present -> absent" in details(
        checked(write(lambda c: c["systems"].pop("ar"))), "configuration"
    )


def test_another_configuration_can_be_named(checked, made, tmp_path):
    other = made().config
    other["scoring"]["spice"] = "auto"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other, sort_keys=False))
    assert "scoring.spice: off -> auto (now, in" in details(
        checked(config=tmp_path / "other.yaml"), "configuration"
    )


def test_a_configuration_in_a_folder_of_its_kind_is_found(checked, tmp_path):
    def move(table):
        (tmp_path / "config/noise").mkdir()
        table.config["training"]["steps"] = 99
        (tmp_path / "config/noise/tiny.yaml").write_text(yaml.safe_dump(table.config))
        (tmp_path / "config/tiny.yaml").unlink()

    assert "(now, in config/noise/tiny.yaml)" in details(checked(move), "configuration")


def test_no_configuration_here_is_unchecked(checked, tmp_path):
    checks = checked(lambda table: (tmp_path / "config/tiny.yaml").unlink())
    assert "there is no config/tiny.yaml here" in details(checks, "configuration", UNCHECKED)


def test_changed_code_is_stale_and_reports_whether_the_result_was_meant_to_change(
    checked, monkeypatch
):
    monkeypatch.setattr(
        freshness,
        "files_changed",
        lambda commit, new, files: (
            ["dsacap/scoring/metrics/cider.py"]
            if "dsacap/scoring/metrics/spice.py" in files
            else []
        ),
    )
    monkeypatch.setattr(freshness, "stage_versions", lambda commit: {"score": 1})
    checks = checked()
    assert (
        details(checks, "code") == "changed since c0ffee00 (meant to leave the result unchanged):"
        " dsacap/scoring/metrics/cider.py ('score ar seed 0',)"
    )
    monkeypatch.setattr(freshness, "stage_versions", lambda commit: {"score": 2})
    assert "meant to change the result: stage version 1 -> 2" in details(checked(), "code")


def test_code_that_git_does_not_know_is_unchecked(checked, monkeypatch):
    monkeypatch.setattr(freshness, "files_changed", lambda commit, new, files: None)
    assert "is not in this checkout" in details(checked(), "code", UNCHECKED)
    dirty = checked(lambda table: table.manifests["score ar seed 0"]["code"].update(dirty=True))
    assert "ran with code that is in no commit ('score ar seed 0',)" in details(
        dirty, "code", UNCHECKED
    )


def test_a_moved_pin_is_stale_and_a_new_one_is_not(checked, monkeypatch):
    def another_lock(table):
        for manifest in table.manifests.values():
            manifest["code"]["lock"] = "e" * 64

    now = {"torch": "2", "rocrate": "1"}
    monkeypatch.setattr(freshness, "pins", lambda commit: {"torch": "1"} if commit else now)
    assert "torch 1 -> 2" in details(checked(another_lock), "versions")
    monkeypatch.setattr(freshness, "pins", lambda commit: {"torch": "2"} if commit else now)
    assert verdict(checked(another_lock)) == SAME
    monkeypatch.setattr(freshness, "pins", lambda commit: None if commit else now)
    assert "has changed (eeeeeeeeeeee then" in details(checked(another_lock), "versions")


def test_an_installation_without_a_lock_file_is_unchecked(checked, monkeypatch):
    def installed(table):
        table.manifests["score ar seed 0"]["code"]["lock"] = None

    there = "there is no requirements.lock where it ran ('score ar seed 0',)"
    assert there in details(checked(installed), "versions", UNCHECKED)
    monkeypatch.setattr(freshness, "lock_hash", lambda: None)
    assert "there is no requirements.lock here" in details(checked(), "versions", UNCHECKED)


def test_a_changed_file_of_predictions_is_stale(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.json").write_text("[]")
    table = made().set_config(
        lambda c: c["predictions"].update(
            theirs={"file": "theirs.json", "citation": "x", "trained_on": "y"}
        )
    )
    table.manifests["score theirs"] = {
        **table.manifests["score human"],
        "facts": {"sha256": sha256(tmp_path / "theirs.json")},
    }
    table.write(tmp_path / "table")
    before = checks_of(load_table(tmp_path / "table"), ["score theirs"], "predictions", None)
    assert not details(before, "files") and details(before, "files", SAME)
    (tmp_path / "theirs.json").write_text("[1]")
    assert "theirs.json has changed" in details(
        checks_of(load_table(tmp_path / "table"), ["score theirs"], "predictions", None), "files"
    )
