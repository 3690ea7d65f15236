import subprocess

import pytest

from dsacap.common import git_checkout
from dsacap.common.git_checkout import files_at, git, lock_hash, pins, stage_versions
from dsacap.runs.stage_table import VERSIONS


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository in place of the checkout; returns a function that makes a commit."""
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path)
    for name in (
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
    ):
        monkeypatch.setenv(name, "somebody")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    def commit(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".lock" if name == "requirements" else ".py").write_text(text)
        git("add", "-A")
        assert git("commit", "-q", "-m", "x") is not None
        return git("rev-parse", "HEAD").strip()

    return commit


def test_files_of_a_commit_and_of_the_working_tree(repository, tmp_path):
    old = repository(a="1\n")
    repository(b="1\n")
    (tmp_path / "c.py").write_text("not committed\n")
    assert files_at(old) == ["a.py"] and sorted(files_at(None)) == ["a.py", "b.py", "c.py"]
    assert files_at("d" * 40) is None


def test_pins_and_stage_versions_of_a_commit_and_of_the_working_tree(repository, tmp_path):
    layout = 'VERSIONS = {\n    "data": 1,\n    "train": 2,\n}\n'
    old = repository(
        requirements="torch==2.0 ; x \\\n    --hash=sha256:1\nnumpy==1.0\n", dsacap__layout=layout
    )
    repository(requirements="torch==2.1\n", dsacap__layout=layout.replace("2", "3"))
    assert pins(old) == {"torch": "2.0", "numpy": "1.0"} and pins(None) == {"torch": "2.1"}
    assert stage_versions(old) == {"data": 1, "train": 2} and stage_versions(None) == {
        "data": 1,
        "train": 3,
    }
    assert pins("d" * 40) is None and stage_versions("d" * 40) is None
    repository(dsacap__runs__layout='VERSIONS = {"data": 4}\n')
    assert stage_versions(None) == {"data": 4} and stage_versions(old) == {"data": 1, "train": 2}
    table = 'STAGES = [Stage("data", 5, "help"), Stage("teach", None, help="x")]\n'
    repository(dsacap__runs__stage_table=table)
    assert stage_versions(None) == {"data": 5} and stage_versions(old) == {"data": 1, "train": 2}


def test_the_versions_of_the_table_of_stages_are_found_in_its_source():
    assert stage_versions(None) == VERSIONS


def test_outside_a_checkout_there_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path)
    assert git("rev-parse", "HEAD") is None and files_at(None) is None


def test_the_repository_that_a_package_is_installed_in_is_not_its_own(
    repository, tmp_path, monkeypatch
):
    commit = repository(a="1\n")
    (tmp_path / "venv").mkdir()
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path / "venv")
    assert git("rev-parse", "HEAD") is None and files_at(commit) is None
    assert lock_hash() is None


def test_options_of_git_are_not_taken_for_commits(repository, tmp_path):
    repository(a="1\n")
    (tmp_path / "a.py").write_text("2\n")
    hostile = f"--output={tmp_path / 'written'}"
    assert files_at(hostile) is None
    assert stage_versions(hostile) is None and pins(hostile) is None
    assert not list(tmp_path.glob("written*"))
