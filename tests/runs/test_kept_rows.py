import shutil

import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json, write_jsonl
from dsacap.runs.kept_rows import keep_rows, restore_rows
from dsacap.runs.layout import Layout, manifest_of
from helpers import tiny_config


@pytest.fixture
def layout(tmp_path, monkeypatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    return Layout(tiny_config(tmp_path))


def finish(layout: Layout, system: str, dirty: bool = False) -> None:
    write_json(layout.captions(system, 0), {"K=1": {"1": [f"a caption by {system}"]}})
    for path in (layout.system(system, 0), layout.captions(system, 0)):
        write_json(manifest_of(path), {"code": {"dirty": dirty}, "facts": {"parameters": 7}})
    write_jsonl(layout.system(system, 0) / "train.jsonl", [{"step": 1, "loss": 2.0}])
    (layout.system(system, 0) / "model.safetensors").write_bytes(b"weights")


def test_a_kept_row_is_restored_without_its_weights(layout):
    finish(layout, "ar")
    assert keep_rows(layout) == ["ar (seed 0)"]
    shutil.rmtree(layout.root)
    assert restore_rows(layout) == ["ar (seed 0)"] and restore_rows(layout) == []
    assert read_json(layout.captions("ar", 0)) == {"K=1": {"1": ["a caption by ar"]}}
    assert read_json(manifest_of(layout.system("ar", 0)))["facts"] == {"parameters": 7}
    assert not (layout.system("ar", 0) / "model.safetensors").exists()


def test_existing_captions_are_not_overwritten(layout):
    finish(layout, "ar")
    keep_rows(layout)
    write_json(layout.captions("ar", 0), {"K=1": {}})
    assert restore_rows(layout) == [] and read_json(layout.captions("ar", 0)) == {"K=1": {}}


def test_a_row_of_other_settings_is_not_restored(layout, tmp_path):
    finish(layout, "ar")
    keep_rows(layout)
    shutil.rmtree(layout.root)
    other = Layout(
        tiny_config(
            tmp_path,
            training={
                "steps": 13,
                "batch_size": 6,
                "warmup": 2,
                "evaluations": 2,
                "validation_images": 6,
            },
        )
    )
    assert restore_rows(other) == []


def test_rows_of_another_results_folder_are_kept_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = Layout(tiny_config(tmp_path, results=str(tmp_path / "elsewhere")))
    finish(layout, "ar")
    keep_rows(layout)
    assert (tmp_path / "elsewhere/tiny/rows" / layout.system("ar", 0).name).is_dir() and not (
        tmp_path / "results"
    ).exists()
    shutil.rmtree(layout.root)
    assert restore_rows(layout) == ["ar (seed 0)"]


def test_captions_of_predictions_files_are_kept_too(tmp_path):
    write_json(tmp_path / "theirs.json", [{"image_id": 1, "caption": "a dog"}])
    theirs = {"theirs": {"file": str(tmp_path / "theirs.json"), "citation": "c", "trained_on": "t"}}
    layout = Layout(tiny_config(tmp_path, predictions=theirs))
    assert keep_rows(layout) == ["theirs"]
    assert read_json(tmp_path / "results/tiny/rows/theirs/captions.json") == [
        {"image_id": 1, "caption": "a dog"}
    ]


def test_nothing_finished_or_uncommitted_code_is_refused(layout):
    with pytest.raises(UserError, match="no row has captions"):
        keep_rows(layout)
    finish(layout, "ar", dirty=True)
    with pytest.raises(UserError, match="uncommitted code"):
        keep_rows(layout)


def test_a_kept_trial_is_restored_without_its_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trials = {"ar": {"as-it-is": {}, "slow": {"training": {"learning_rate": 0.001}}}}
    layout = Layout(tiny_config(tmp_path, trials=trials))
    tried = layout.tried("ar", "slow")
    scores, folder = tried.validation("ar", 0), tried.system("ar", 0)
    write_json(scores, {"K=1": {"1": 0.5}})
    for path in (folder, scores):
        write_json(manifest_of(path), {"code": {"dirty": False}, "facts": {"n": 1}})
    assert keep_rows(layout) == ["ar (trial slow)"]
    shutil.rmtree(layout.root)
    assert restore_rows(layout) == ["ar (trial slow)"] and restore_rows(layout) == []
    assert read_json(scores) == {"K=1": {"1": 0.5}}
    assert read_json(manifest_of(folder))["facts"] == {"n": 1}
