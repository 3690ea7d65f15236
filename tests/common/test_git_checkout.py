from dsacap.common import git_checkout
from dsacap.common.git_checkout import files_at, git, lock_hash, pins, stage_versions
from dsacap.runs.stage_table import VERSIONS


def test_files_of_a_commit_and_of_the_working_tree(commit, tmp_path):
    old = commit({"a.py": "1\n"})
    commit({"a.py": "1\n", "b.py": "1\n"})
    (tmp_path / "c.py").write_text("not committed\n")
    assert files_at(old) == ["a.py"] and sorted(files_at(None)) == ["a.py", "b.py", "c.py"]
    assert files_at("d" * 40) is None


def test_pins_and_stage_versions_of_a_commit_and_of_the_working_tree(commit, tmp_path):
    layout = 'VERSIONS = {\n    "data": 1,\n    "train": 2,\n}\n'
    locked = "torch==2.0 ; x \\\n    --hash=sha256:1\nnumpy==1.0\n"
    old = commit({"requirements.lock": locked, "dsacap/layout.py": layout})
    files = {
        "requirements.lock": "torch==2.1\n",
        "dsacap/layout.py": layout.replace("2", "3"),
    }
    commit(files)
    assert pins(old) == {"torch": "2.0", "numpy": "1.0"} and pins(None) == {"torch": "2.1"}
    assert stage_versions(old) == {"data": 1, "train": 2} and stage_versions(None) == {
        "data": 1,
        "train": 3,
    }
    assert pins("d" * 40) is None and stage_versions("d" * 40) is None
    files["dsacap/runs/layout.py"] = 'VERSIONS = {"data": 4}\n'
    commit(files)
    assert stage_versions(None) == {"data": 4} and stage_versions(old) == {"data": 1, "train": 2}
    table = 'STAGES = [Stage("data", 5, "help"), Stage("teach", None, help="x")]\n'
    commit({**files, "dsacap/runs/stage_table.py": table})
    assert stage_versions(None) == {"data": 5} and stage_versions(old) == {"data": 1, "train": 2}


def test_the_versions_of_the_table_of_stages_are_found_in_its_source():
    assert stage_versions(None) == VERSIONS


def test_outside_a_checkout_there_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path)
    assert git("rev-parse", "HEAD") is None and files_at(None) is None


def test_the_repository_that_a_package_is_installed_in_is_not_its_own(
    commit, tmp_path, monkeypatch
):
    made = commit({"a.py": "1\n"})
    (tmp_path / "venv").mkdir()
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path / "venv")
    assert git("rev-parse", "HEAD") is None and files_at(made) is None
    assert lock_hash() is None


def test_options_of_git_are_not_taken_for_commits(commit, tmp_path):
    commit({"a.py": "1\n"})
    (tmp_path / "a.py").write_text("2\n")
    hostile = f"--output={tmp_path / 'written'}"
    assert files_at(hostile) is None
    assert stage_versions(hostile) is None and pins(hostile) is None
    assert not list(tmp_path.glob("written*"))
