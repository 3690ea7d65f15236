import errno
import json
import subprocess
import sys

import pytest
import yaml

from dsacap.cli.main import main
from dsacap.common.files import read_json, sha256
from helpers import tiny_config


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        yaml.safe_dump(tiny_config(tmp_path / "work").model_dump(mode="json", exclude_unset=True))
    )
    return path


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_errors_are_one_line_without_a_traceback(config, capsys):
    assert run("train", "--config", config, "--system", "nobody") == 1
    message = capsys.readouterr().err
    assert message.startswith(
        f"error: {config}: no system 'nobody' with seed 0; known: ar (seed 0), dsacap (seed 0)"
    )
    assert run("train", "--config", config, "--system", "ar") == 1  # nothing prepared yet
    message = capsys.readouterr().err
    assert "no such file" in message and "Traceback" not in message
    assert run("check", "--config", config.with_name("absent.yaml")) == 1
    assert "absent.yaml: no such file; name a configuration by --config" in capsys.readouterr().err
    assert run("download", "--config", config, "--file", "x.zip") == 1
    assert "scenes are generated" in capsys.readouterr().err
    for verb, lacks in (
        ("report-claims", "ablation,"),
        ("report-ablation", "ablation.judge,"),
        ("reconstruct --system ar", "ablation.judge,"),
    ):
        assert run(*verb.split(), "--config", config) == 1
        assert f"no section {lacks}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "run the same command again to resume"),
        (
            OSError(errno.ENOSPC, "No space left on device", "work/x"),
            1,
            "error: No space left on device (work/x)",
        ),
    ],
)
def test_interruption_and_a_full_disk(config, capsys, monkeypatch, raised, code, message):
    def fail(layout):
        raise raised

    monkeypatch.setattr("dsacap.stages.data.make_data", fail)
    assert run("data", "--config", config) == code
    assert message in capsys.readouterr().err
    assert not list(config.parent.rglob("manifest.json"))


def test_a_stage_writes_a_manifest(config, tmp_path):
    assert run("data", "--config", config) == 0
    manifest = read_json(next(tmp_path.rglob("data-*/manifest.json")))
    assert manifest["stage"] == "data" and manifest["facts"]["images"] == {
        "train": 24,
        "val": 6,
        "test": 6,
    }
    assert (
        manifest["config"]["name"] == "tiny"
        and len(manifest["code"]["lock"]) == 64
        and manifest["host"]["packages"]["torch"]
    )
    captions = next(tmp_path.rglob("captions.jsonl"))
    before = sha256(captions)
    assert run("data", "--config", config) == 0  # again: the same bytes
    assert sha256(captions) == before == manifest["facts"]["sha256"]["captions.jsonl"]


COCO = {
    "images": [{"id": i, "file_name": f"{i}.png"} for i in range(9)],
    "annotations": [{"id": i, "image_id": i, "caption": f"a photo of {i}"} for i in range(9)],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"].pop(3), "no captions for image ids 3"),
        (lambda d: d["annotations"][2].update(caption="  "), "annotation 2: empty caption"),
        (lambda d: d["annotations"][2].update(caption=7), "annotation 2: 'caption' must be str"),
        (lambda d: d["images"].append(d["images"][4]), "image id 4 occurs twice"),
        (lambda d: d["images"][5].update(file_name="away.png"), "away.png"),
        (lambda d: d.pop("annotations"), "'annotations'"),
    ],
)
def test_bad_captions_stop_the_data_stage(tmp_path, capsys, change, message):
    from PIL import Image

    data = json.loads(json.dumps(COCO))
    change(data)
    (tmp_path / "captions.json").write_text(json.dumps(data))
    (tmp_path / "photos").mkdir()
    for i in range(9):
        Image.new("RGB", (16, 16)).save(tmp_path / "photos" / f"{i}.png")
    dataset = {
        "kind": "coco",
        "annotations": [str(tmp_path / "captions.json")],
        "images": {"photos": str(tmp_path / "photos")},
        "random_split": {"val": 2, "test": 2},
    }
    config = tiny_config(
        tmp_path / "work", dataset=dataset, encoder={"name": "ViT-B-32", "pretrained": "openai"}
    )
    (tmp_path / "bad.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True))
    )
    assert run("data", "--config", tmp_path / "bad.yaml") == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not list((tmp_path / "work").rglob("*.json*"))


def test_a_closed_pipe_is_no_error():
    command = [sys.executable, "-m", "dsacap.cli", "doctor", "--config", "config/smoke.yaml"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 0


def test_a_worker_that_died_is_an_error(config, monkeypatch):
    """Its pipe is broken too, but not because a reader of the output closed it."""

    def dead(*_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("dsacap.stages.data.make_data", dead)
    with pytest.raises(BrokenPipeError):
        run("data", "--config", config)
