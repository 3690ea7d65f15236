"""A captioner of another package: installed as a user would, found by its entry point and used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dsacap.common.errors import UserError
from dsacap.config.experiment import parse_config
from dsacap.runs.layout import Layout
from helpers import borrow, tiny_config

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
EXAMPLE = ROOT / "examples/show_and_tell"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Return a folder in which the example's package is installed."""
    source, target = (
        tmp_path_factory.mktemp("source") / "show_and_tell",
        tmp_path_factory.mktemp("site"),
    )
    shutil.copytree(EXAMPLE, source)  # building writes into the source folder
    command = [
        BIN / "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--python",
        sys.executable,
    ]
    subprocess.run([*command, "--target", target, source], check=True)
    return target


def run_dsacap(site: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dsacap.cli", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=ROOT,
    )


def configuration(tmp_path: Path, **system) -> Path:
    config = tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    row = {
        "captioner": "show-and-tell",
        "model": {"width": 16},
        "decodings": {"greedy": {}, "T=1": {"temperature": 1.0}},
    }
    # A reconstruction reward would import diffusers, which takes long.
    tuning = config["systems"]["dsacap-rl"]["tuning"] | {"rewards": {"cider": 1}}
    tuned = {"tuned_from": "show-and-tell", "tuning": tuning, "decodings": {"greedy": {}}}
    config["systems"] = {
        "ar": config["systems"]["ar"],
        "show-and-tell": row | system,
        "tuned": tuned,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_an_outside_system_becomes_a_row(installed, tiny_layout, tmp_path):
    config = str(configuration(tmp_path))
    borrow(Layout(tiny_config(tmp_path)), tiny_layout)
    for verb, system in (
        ("train", "show-and-tell"),
        ("caption", "show-and-tell"),
        ("score", "show-and-tell"),
        ("tune", "tuned"),
    ):
        done = run_dsacap(installed, verb, "--config", config, "--system", system)
        assert done.returncode == 0, done.stderr
    manifest = next(tmp_path.glob("tiny/show-and-tell-seed0-*/manifest.json")).read_text()
    assert '"captioner":"show-and-tell 1.0.0"' in manifest


def test_without_the_package_its_name_is_unknown(tmp_path):
    config = yaml.safe_load(configuration(tmp_path).read_text())
    with pytest.raises(
        UserError,
        match=r"unknown captioner 'show-and-tell'; known: dsacap, autoregressive, masked-diffusion",
    ):
        parse_config(config, "here")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "raise RuntimeError('no licence')",
            "of broken 0.1 cannot be loaded: RuntimeError: no licence",
        ),
        (
            "ShowAndTell = dict",
            "of broken 0.1: broken:ShowAndTell is not a subclass of dsacap.captioner.Captioner",
        ),
    ],
)
def test_a_package_that_misbehaves_is_named(tmp_path, code, message):
    site = tmp_path / "site"
    (site / "broken-0.1.dist-info").mkdir(parents=True)
    (site / "broken-0.1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n"
    )
    (site / "broken-0.1.dist-info/entry_points.txt").write_text(
        "[dsacap.captioners]\nshow-and-tell = broken:ShowAndTell\n"
    )
    (site / "broken.py").write_text(code)
    done = run_dsacap(site, "check", "--config", str(configuration(tmp_path)))
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_two_packages_with_one_name_are_refused(installed, tmp_path):
    again = tmp_path / "other-0.1.dist-info"
    again.mkdir()
    (again / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 0.1\n")
    (again / "entry_points.txt").write_text("[dsacap.captioners]\nshow-and-tell = other:Other\n")
    done = run_dsacap(
        Path(f"{installed}{os.pathsep}{tmp_path}"),
        "check",
        "--config",
        str(configuration(tmp_path)),
    )
    assert (
        done.returncode == 1
        and "uninstall all but one" in done.stderr
        and "show-and-tell" in done.stderr
    )
