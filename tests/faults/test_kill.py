"""SIGKILL any process of the pipeline at random moments; run again, it gives the same bytes."""

import itertools
import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from pipeline import differences, smoke

_LONGEST = 30.0  # seconds between two kills


@pytest.mark.faults
def test_killed_anywhere(undisturbed, tmp_path, request, count):
    """Whenever the pipeline finishes in spite of the kills, compare its files and start again."""
    rng, victims, ends = random.Random(request.config.getoption("--faults-seed")), Counter(), 0
    while victims.total() < request.config.getoption("--kills"):
        run = smoke(tmp_path)
        if victim := _kill_one(run, rng):
            victims[victim] += 1
            run.wait()
        else:
            _compare(run, undisturbed, tmp_path)
            ends += 1
            shutil.rmtree(tmp_path / "work")
            shutil.rmtree(tmp_path / "results")
    _compare(smoke(tmp_path), undisturbed, tmp_path)
    count(kills=victims.total(), victims=dict(victims), ends_compared=ends + 1)


def _compare(run: subprocess.Popen, undisturbed: Path, folder: Path) -> None:
    assert run.wait() == 0, (folder / "snakemake.log").read_text()[-3000:]
    _until_orphans_end(folder)
    assert differences(undisturbed, folder) == []


def _kill_one(run: subprocess.Popen, rng: random.Random) -> str | None:
    """Kill a process after a random time and return its verb or name, or None if the run has ended.

    Its children stay alive, as they do after a kill by the out-of-memory killer, and the next run
    has to work with them around.
    """
    try:
        run.wait(rng.uniform(1, _LONGEST))
        return None
    except subprocess.TimeoutExpired:
        root = psutil.Process(run.pid)
        victim = rng.choice([root, *root.children(recursive=True)])
        try:
            name = _name(victim.cmdline())
            victim.kill()
        except psutil.NoSuchProcess:  # it has just ended by itself
            return _kill_one(run, rng)
        return name


def _name(command: list[str]) -> str:
    """Return the name of a process for the report."""
    line = " ".join(command)
    if "jvm_worker" in line or "java" in line:
        return "Java"
    verbs = [after for before, after in itertools.pairwise(command) if before.endswith("dsacap")]
    return verbs[0] if verbs else ("snakemake" if "snakemake" in line else "shell")


def _until_orphans_end(folder: Path) -> None:
    while any(
        str(folder) in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])
    ):
        time.sleep(0.5)
