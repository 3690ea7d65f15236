"""`dsacap doctor` on machines that lack something."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from dsacap.cli import findings_of_config, findings_of_machine
from dsacap.cli.doctor import report
from dsacap.cli.main import main
from dsacap.config.experiment import load_config, parse_config
from dsacap.scoring.java.jvm import JvmWorker

SMOKE = load_config(Path("config/smoke.yaml"))


def changed(config, **sections):
    return parse_config({**config.model_dump(mode="json", exclude_unset=True), **sections}, "test")


def examine(config):
    return report(findings_of_config.findings_of_config(config), config.name)


def line(capsys, what):
    """Return the first line that `examine` printed about a part of the machine."""
    return next(
        line for line in capsys.readouterr().out.splitlines() if line.split()[1:2] == [what]
    )


def test_a_machine_that_runs_these_tests_is_ready(capsys):
    assert main(["doctor", "--config", "config/smoke.yaml"]) == 0
    assert "smoke: ready" in capsys.readouterr().out


def test_absent_data_is_missing_unless_it_can_be_downloaded(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"kind": "coco", "images": {"all": "photos.zip"}, "karpathy": "split.json"}
    assert not examine(changed(SMOKE, dataset=data, encoder={"name": "timm:test_vit"}))
    out = capsys.readouterr().out
    assert (
        "missing  data       split.json: does not exist" in out
        and "-> put it there" in out
        and "not ready" in out
    )
    remote = {
        "url": "http://localhost/a",
        "size": 10**9,
        "md5": "0" * 32,
        "unpack": {"split.json": None},
    }
    photos = {"url": "http://localhost/b", "size": 10, "md5": "0" * 32}
    fetched = {**data, "downloads": {"split.zip": remote, "photos.zip": photos}}
    assert examine(changed(SMOKE, dataset=fetched, encoder={"name": "timm:test_vit"}))
    assert (
        "note     data       split.json: will be downloaded (1.00 GB, split.zip)"
        in capsys.readouterr().out
    )
    (tmp_path / "split.zip").touch()
    assert examine(changed(SMOKE, dataset=fetched, encoder={"name": "timm:test_vit"}))
    assert "split.json: will be unpacked from split.zip" in capsys.readouterr().out
    own = {"dataset": fetched, "encoder": {"features": "mine.h5"}}
    assert not examine(changed(SMOKE, **own))
    out = capsys.readouterr().out
    assert "missing  data       mine.h5: does not exist" in out and "photos.zip" not in out


def test_a_full_disk_is_missing(capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 10**6, 10**6))
    assert not examine(SMOKE)
    assert line(capsys, "disk").startswith("missing")


def test_a_folder_that_cannot_be_written_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(findings_of_config.os, "access", lambda folder, mode: False)
    assert not examine(SMOKE)
    assert "cannot be written" in line(capsys, "disk")


def test_a_required_gpu_must_exist(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert examine(SMOKE)
    assert line(capsys, "GPU").startswith("note")
    assert not examine(changed(SMOKE, device="cuda"))
    assert line(capsys, "GPU").startswith("missing")


def test_java_that_does_not_start_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(
        findings_of_machine, "JvmWorker", lambda: JvmWorker(options=("-XX:NoSuchOption",))
    )
    assert not examine(SMOKE)
    assert line(capsys, "Java").startswith("missing")


def test_corenlp_is_downloaded_later(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path))
    monkeypatch.delenv("CORENLP_DIR", raising=False)
    assert examine(changed(SMOKE, scoring={"spice": "auto"}))
    assert "downloaded once (385 MB)" in line(capsys, "SPICE")


def test_versions_that_differ_from_the_pins_are_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "numpy==0.1 \\\n    --hash=sha256:0\n"
        "not-there==1.0 ; sys_platform == 'none' \\\n    --hash=sha256:0\n"
    )
    finding = findings_of_machine._packages(lock)
    assert finding.state == "note" and "1 of 1 are not as pinned: numpy" in finding.text


@pytest.mark.parametrize("available", [findings_of_machine._MEMORY - 1, 2**40])
def test_little_memory_is_noted(monkeypatch, available):
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *_: f"MemTotal: 1 kB\nMemAvailable: {available // 1024} kB\n",
    )
    assert findings_of_machine._memory().state == ("ok" if available == 2**40 else "note")
