"""A stage is added by one file and one entry, as CONTRIBUTING.md shows."""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from dsacap.common.files import read_json
from dsacap.common.git_checkout import ROOT
from dsacap.runs.layout import manifest_of

TABLE = "dsacap/runs/stage_table.py"
PARTS = ("dsacap", "workflow", "Snakefile", "environment.yml", "requirements.lock")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository with the stage of CONTRIBUTING.md."""
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        copied = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copied(ROOT / part, folder / part)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text[text.index("**A new stage**") : text.index("**A row of your own**")]
    code, entry = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    [place] = re.findall(r"`(dsacap/stages/\w+\.py)`", section)
    (folder / place).write_text(code)
    table = (folder / TABLE).read_text()
    assert table.count("    )\n}\n") == 1
    indented = textwrap.indent(f"{entry.rstrip()},\n", " " * 8)
    (folder / TABLE).write_text(table.replace("    )\n}\n", f"{indented}    )\n}}\n"))
    return folder


def run(copy, *command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(copy)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_command_line_and_the_manifest_follow_from_the_entry(copy, finished):
    config, layout = finished
    stage = ("dsacap.cli", "count-words", "--config", str(config), "--system", "ar")
    done = run(copy, *stage)
    assert done.returncode == 0, done.stderr
    [counted] = layout.system("ar", 0).glob("count-words-????????.json")
    manifest = read_json(manifest_of(counted))
    captions = layout.captions("ar", 0)
    assert manifest["stage"] == "count-words" and manifest["version"] == 1
    assert list(manifest["inputs"]) == [captions.relative_to(layout.root).as_posix()]
    assert list(manifest["outputs"]) == [counted.relative_to(layout.root).as_posix()]
    assert manifest["facts"] == read_json(counted)
    whole = captions.read_bytes()
    captions.write_bytes(whole[:-1])
    try:
        assert f"{captions}: changed since it was written" in run(copy, *stage).stderr
    finally:
        captions.write_bytes(whole)
    assert "count the words of a system's captions" in run(copy, "dsacap.cli", "--help").stdout


def test_snakemake_makes_its_file(copy, finished):
    config, layout = finished
    target = layout.system("ar", 0) / "count-words-01234567.json"
    options = ("-n", "--cores", "1", "--configfile", str(config))
    planned = run(copy, "snakemake", str(target), *options).stdout
    job = planned[planned.index("rule count_words:") :]
    assert f"input: {layout.captions('ar', 0)}" in job and f"output: {target}" in job
