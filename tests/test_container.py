"""The Dockerfile does what the README asks of a reader, and leaves out what git ignores."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """The instructions and their arguments, with continued lines joined and without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [
        tuple(line.split(None, 1)) for line in re.sub(r"\\\n\s*", "", text).splitlines() if line
    ]


def of(steps, instruction: str) -> list[str]:
    return [words for name, words in steps if name == instruction]


def test_one_file_serves_a_cpu_and_a_gpu(steps):
    assert of(steps, "FROM") == ["debian:bookworm-slim"]
    assert of(steps, "ARG") == ["DEVICE=cpu"]


@pytest.mark.parametrize(("device", "compiler"), [("cpu", False), ("gpu", True), ("tpu", None)])
def test_what_is_installed(steps, device, compiler, tmp_path):
    """Run the first step with an apt-get that prints its arguments."""
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "apt-get").chmod(0o755)
    step = of(steps, "RUN")[0].removesuffix("&& rm -rf /var/lib/apt/lists/*")
    done = subprocess.run(
        ["/bin/sh", "-c", step],
        env={"PATH": str(tmp_path), "DEVICE": device},
        capture_output=True,
        text=True,
    )
    if compiler is None:
        assert done.returncode == 1 and done.stderr == "error: DEVICE is cpu or gpu, not tpu\n"
    else:
        installed = set(done.stdout.split())
        assert {"git", "make", "python3", "python3-venv"} <= installed and (
            "g++" in installed
        ) is compiler


def test_the_readme_asks_for_no_more():
    asked = re.search(r"On Debian or Ubuntu with (.*?);", (ROOT / "README.md").read_text())[1]
    assert asked == "git, make and Python >= 3.11 (with venv)"


def test_its_environment_is_that_of_the_lock_file(steps):
    [setup] = [
        re.search(r"make setup VENV=(\S+)", run)
        for run in of(steps, "RUN")
        if "make" in run and "setup" in run
    ]
    plan = subprocess.run(
        ["make", "--dry-run", "setup", setup[0].split()[-1]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    of_lock = f"--python {setup[1]}/bin/python --require-hashes -r requirements.lock"
    assert f"{setup[1]}/bin/uv pip install --quiet --compile-bytecode {of_lock}" in plan
    assert not any("pip install" in run for run in of(steps, "RUN")), (
        "installs something that is not in the lock file"
    )
    assert any(f"PATH={setup[1]}/bin:" in words for words in of(steps, "ENV"))


def test_it_makes_the_table(steps):
    assert of(steps, "CMD") == ['["snakemake", "--cores", "all", "results/table.md"]']
    assert "snakemake --cores all results/table.md" in (ROOT / "README.md").read_text()


def test_ignored_files_stay_outside_and_the_commit_goes_in():
    """Without all tracked files, tables made in the container would be marked as changed code."""
    ignored = (ROOT / ".gitignore").read_text().split()
    same = {
        line.strip("/") if line.startswith("/") else f"**/{line.strip('/')}" for line in ignored
    }
    assert set((ROOT / ".dockerignore").read_text().split()) == same
