"""What works where only the packages for scoring are installed, as in the venv of a wheel."""

import json
import subprocess
import sys

import pytest

from dsacap.common.git_checkout import ROOT

# The packages of extras are not found, as if they were not installed.
SCRIPT = """
import sys
from importlib.abc import MetaPathFinder

EXTRAS = {"torch", "torchvision", "transformers", "diffusers", "open_clip", "timm", "accelerate",
          "snakemake", "matplotlib", "rocrate", "pillow_heif", "bert_score"}


class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())

from dsacap.cli.main import main

sys.exit(main(sys.argv[1:]))
"""
REFERENCES = {"1.jpg": ["A red dog.", "The dog is red!"], "2.jpg": ["A cat sleeps.", "A cat."]}


@pytest.fixture
def dsacap(tmp_path):
    (tmp_path / "references.json").write_text(json.dumps(REFERENCES))
    (tmp_path / "ours.json").write_text(json.dumps({"1.jpg": "a red dog", "2.jpg": "a cat"}))
    (tmp_path / "any.yaml").write_text("name: any\n")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}"]
        return subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_page_is_written(dsacap, tmp_path):
    done = dsacap("page", "ours.json", "--references", "references.json", "--no-spice")
    assert (done.returncode, "open it in a browser" in done.stdout) == (0, True), done.stderr
    assert "<title>Captions of ours</title>" in (tmp_path / "page.html").read_text()


def test_the_doctor_examines_what_scoring_needs(dsacap):
    done = dsacap("doctor")
    assert done.returncode == 0 and done.stdout.endswith("scoring: ready\n"), done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()[:-2]}
    assert lines.keys() == {"packages", "memory", "Java", "SPICE", "GPU"}
    assert 'pip install "dsacap-bench[train]"' in lines["GPU"]


def test_a_configuration_names_the_extra_that_it_needs(dsacap):
    done = dsacap("check", "--config", "any.yaml")
    message = 'error: this needs the package torch, which is not installed; pip install "dsacap-'
    assert done.returncode == 1 and done.stderr.startswith(message)
