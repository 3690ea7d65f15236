import hashlib
from importlib.metadata import version

from dsacap.runs import manifest
from dsacap.runs.manifest import commit, run_stage
from dsacap.runs.stage_table import VERSIONS
from helpers import tiny_config


def test_a_manifest_has_the_hashes_of_files_read_and_written(tmp_path, capsys):
    config = tiny_config(tmp_path / "work")
    ours, theirs = tmp_path / "work/tiny/data/captions.jsonl", tmp_path / "annotations.json"

    def stage():
        for file in (ours, theirs):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(file.name)
        return {"images": 3}

    written = run_stage(
        "data", config, stage, tmp_path / "manifest.json", lambda: ([theirs], [ours])
    )
    assert capsys.readouterr().err.startswith(f"data: wrote {ours} in 0 s (")
    digests = {file.name: hashlib.sha256(file.name.encode()).hexdigest() for file in (ours, theirs)}
    # Files of the run are named by their place in it, others as in the configuration.
    assert written["outputs"] == {"data/captions.jsonl": digests["captions.jsonl"]}
    assert written["inputs"] == {theirs.as_posix(): digests["annotations.json"]}
    assert written["version"] == VERSIONS["data"] and written["facts"] == {"images": 3}
    assert written["host"]["gpu"] is None and written["host"]["deterministic"] is False


def test_packages_that_are_not_installed_have_no_version(monkeypatch):
    monkeypatch.setattr(manifest, "_PACKAGES", ("numpy", "not-installed"))
    assert manifest.host()["packages"] == {"numpy": version("numpy")}


def test_uncommitted_changes_are_recorded_by_their_hash(monkeypatch):
    answers = {
        "status": " M dsacap/common/files.py\n",
        "diff": "+ a line\n",
        "rev-parse": "c0ffee\n",
    }
    monkeypatch.setattr(manifest, "git", lambda verb, *rest: answers[verb])
    assert commit() | {"lock": ""} == {
        "commit": "c0ffee",
        "dirty": True,
        "changes": hashlib.sha256(b"+ a line\n").hexdigest(),
        "lock": "",
    }
    answers["status"] = ""
    assert commit()["dirty"] is False and commit()["changes"] is None
    monkeypatch.setattr(manifest, "git", lambda *arguments: None)
    assert commit()["dirty"] is None and commit()["commit"] is None
