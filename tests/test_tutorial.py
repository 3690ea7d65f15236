"""docs/tutorial.md followed step by step: every block of it is run or used."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)


@pytest.fixture
def checkout(tmp_path):
    """A copy of the repository, without the files of a run."""
    for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
        target = tmp_path / name
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    return tmp_path


def run(lines: str, folder: Path) -> str:
    """Run lines of commands in bash, and return their output and errors."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euc", lines], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def follow(folder: Path, commands: list[str]) -> str:
    """Save the files of the tutorial, run blocks of commands in order, and return the output."""
    files = {kind: text for kind, text in BLOCKS if kind in ("python", "yaml")}
    (folder / "mine.py").write_text(files["python"])
    (folder / "mine.yaml").write_text(files["yaml"])
    return "".join(run(block, folder) for block in commands)


COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]
PRINTED = [text for kind, text in BLOCKS if kind == "text"]
TABLE = next(at for at, block in enumerate(COMMANDS) if "snakemake" in block)


def test_until_the_table(checkout):
    """Everything is run until the pipeline, which is only planned."""
    planned = COMMANDS[TABLE].replace("snakemake", "snakemake --dry-run")
    printed = follow(checkout, [*COMMANDS[:TABLE], planned])
    assert "every image of the references has captions, and no other image has" in printed
    assert PRINTED[0] in printed, "the scores are those of the page"
    assert "smoke: ready" in printed
    assert "score_mine" in printed
    captions = {record["caption"] for record in json.loads((checkout / "mine.json").read_text())}
    assert len(captions) == 4, "the captions depend on the background"


@pytest.mark.slow
def test_the_table_has_the_row(checkout):
    printed = follow(checkout, COMMANDS)
    assert PRINTED[1] in (checkout / "results" / "smoke" / "table.md").read_text()
    assert PRINTED[1] in printed
    assert "mine: the highest CIDEr on" in printed
    assert len(list((checkout / "photos").glob("*.png"))) == 30
