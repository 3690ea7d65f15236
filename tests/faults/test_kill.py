"""SIGKILL at random moments, to any process of the pipeline's tree: the same command again leads to the same bytes."""

import itertools
import random
import subprocess
import time
from collections import Counter

import psutil
import pytest
from pipeline import differences, smoke

_LONGEST = 30.0  # seconds between two kills


@pytest.mark.faults
def test_killed_anywhere(undisturbed, tmp_path, request, count):
    rng, victims, finished = random.Random(request.config.getoption("--faults-seed")), Counter(), 0
    while victims.total() < request.config.getoption("--kills"):
        run = smoke(tmp_path)
        if (victim := _kill_one(run, rng)) is None:
            finished += 1  # before its time had come: everything is there already
            _forget_some(tmp_path, rng)
            continue
        victims[victim] += 1
        run.wait()
    run = smoke(tmp_path)
    assert run.wait() == 0, (tmp_path / "snakemake.log").read_text()[-3000:]
    _until_orphans_end(tmp_path)
    count(kills=victims.total(), victims=dict(victims), runs_finished_between=finished)
    assert differences(undisturbed, tmp_path) == []


def _kill_one(run: subprocess.Popen, rng: random.Random) -> str | None:
    """The verb, or name, of the process killed after a random time; None where the run was over before. What was started by it lives on,
    as after the kill of a real machine's out-of-memory killer, and the next run works beside it."""
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
    """What a process is, for the report."""
    said = " ".join(command)
    if "jvm_worker" in said or "java" in said:
        return "Java"
    verbs = [after for before, after in itertools.pairwise(command) if before.endswith("dsacap")]
    return verbs[0] if verbs else ("snakemake" if "snakemake" in said else "shell")


def _forget_some(folder, rng: random.Random) -> None:
    """Removes what one stage wrote, so that there is something to kill again."""
    stages = sorted(path for path in folder.glob("work/smoke/*") if path.is_dir())
    gone = rng.choice(stages)
    for path in sorted(gone.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    gone.rmdir()


def _until_orphans_end(folder) -> None:
    while any(str(folder) in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])):
        time.sleep(0.5)
