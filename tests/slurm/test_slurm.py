"""The smoke pipeline on a real Slurm gives the same bytes as a local run, despite disturbances.

One job is killed, one is requeued, and one gets too little memory. The run takes a quarter of an
hour on two idle cores, and installs Debian's Slurm:

    tests/slurm/run

To compare with a folder in which the smoke pipeline has run already:

    DSACAP_LOCAL_RUN=folder tests/slurm/run
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil
import pytest
import yaml
from cluster import jobs, missing, slurm
from pipeline import ROOT, differences, smoke

PROFILE = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
TOO_LITTLE = 900  # MiB; the job's two Snakemakes and its stage need about twice as much
LONGEST = 1800  # seconds

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def local_run(tmp_path_factory) -> Path:
    if "DSACAP_LOCAL_RUN" in os.environ:
        return Path(os.environ["DSACAP_LOCAL_RUN"])
    folder = tmp_path_factory.mktemp("local")
    assert smoke(folder).wait() == 0, log_of(folder)
    return folder


@pytest.fixture(scope="module")
def cluster_run(tmp_path_factory) -> tuple[Path, dict[str, list[dict[str, str]]]]:
    """The run's folder, and Slurm's jobs by rule and wildcards, in the order of submission."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("run")
    with slurm(tmp_path_factory.mktemp("daemons"), cpus=os.cpu_count()):
        submitter = submit(folder, profile(tmp_path_factory.mktemp("profile")))
        try:
            disturb(folder, submitter)
            assert submitter.wait(LONGEST) == 0, log_of(folder)
        finally:
            submitter.kill()
        jobs_of = defaultdict(list)
        for job in sorted(jobs(), key=lambda job: int(job["JobId"])):
            jobs_of[job["Comment"].removeprefix("rule_").replace("_wildcards_", " ")].append(job)
    return folder, jobs_of


def profile(folder: Path) -> Path:
    """Write the shipped profile, adapted to the test.

    Slurm has no accounting, each training gets a GPU, and one job gets too little memory.
    """
    (changed := yaml.safe_load(yaml.safe_dump(PROFILE)))["slurm-status-command"] = "squeue"
    changed["slurm-init-seconds-before-status-checks"] = 5
    changed["set-resources"]["train"]["gpu"] = 1
    changed["set-resources"]["score_human"]["mem_mb"] = f"attempt * {TOO_LITTLE}"
    (folder / "profile.yaml").write_text(yaml.safe_dump(changed))
    return folder


def submit(folder: Path, profile: Path) -> subprocess.Popen:
    command = [
        Path(sys.executable).with_name("snakemake"),
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        folder,
    ]
    command += ["--workflow-profile", profile, "--configfile", ROOT / "config" / "smoke.yaml"]
    with (folder / "snakemake.log").open("w") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)


def disturb(folder: Path, submitter: subprocess.Popen) -> None:
    """Kill one training, as the kernel would, and requeue another, as Slurm does on preemption."""
    waiting = {"ar": psutil.Process.kill, "masked-diffusion": requeue}
    while waiting:
        assert submitter.poll() is None, f"{', '.join(waiting)} never trained:\n{log_of(folder)}"
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = process.info["cmdline"] or []
            if process.info["cwd"] == str(folder) and {"train", "--system"} <= set(words):
                waiting.pop(words[words.index("--system") + 1], lambda other: None)(process)
        time.sleep(0.1)


def requeue(training: psutil.Process) -> None:
    subprocess.run(["scontrol", "requeue", training.environ()["SLURM_JOB_ID"]], check=True)


def log_of(folder: Path) -> str:
    return (folder / "snakemake.log").read_text()[-5000:]


def memory(job: dict[str, str]) -> float:
    """Return the MiB that are reserved for a job."""
    return float(job["MinMemoryNode"][:-1]) * {"M": 1, "G": 1024}[job["MinMemoryNode"][-1]]


def one(jobs_of: dict[str, list[dict[str, str]]], start: str) -> list[dict[str, str]]:
    """Return Slurm's jobs for the one Snakemake job whose rule and wildcards begin with `start`."""
    [name] = [name for name in jobs_of if name.startswith(start)]
    return jobs_of[name]


def test_every_stage_of_every_system_was_a_job_and_the_bytes_are_those_of_a_local_run(
    cluster_run, local_run
):
    folder, jobs_of = cluster_run
    rules = {
        "data": 1,
        "encoder": 1,
        "features": 1,
        "generator": 1,
        "train": 3,
        "tune": 1,
        "caption": 4,
        "score": 4,
    }
    rules |= {"score_human": 1, "time": 1, "report": 1}
    assert {rule: sum(name.split()[0] == rule for name in jobs_of) for rule in rules} == rules
    assert all(attempts[-1]["JobState"] == "COMPLETED" for attempts in jobs_of.values())
    assert differences(local_run, folder) == []


def test_the_killed_job_was_tried_again_with_more_memory(cluster_run):
    first, second = one(cluster_run[1], "train ar")
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    assert memory(second) == 2 * memory(first) == 64000


def test_the_job_with_too_little_memory_got_more(cluster_run):
    *failed, last = one(cluster_run[1], "score_human")
    assert failed and all(job["JobState"] != "COMPLETED" for job in failed)
    assert [memory(job) for job in [*failed, last]] == [
        TOO_LITTLE * attempt for attempt in range(1, len(failed) + 2)
    ]


def test_the_requeued_job_continued_under_its_number(cluster_run):
    [job] = one(cluster_run[1], "train masked-diffusion")
    assert (job["Requeue"], job["Restarts"], job["JobState"]) == ("1", "1", "COMPLETED")


def test_trainings_ran_side_by_side_each_with_a_gpu(cluster_run):
    trainings = [
        job
        for name, attempts in cluster_run[1].items()
        if name.startswith("train ")
        for job in attempts
    ]
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in trainings)
    assert any(
        a is not b and a["StartTime"] < b["EndTime"] and b["StartTime"] < a["EndTime"]
        for a in trainings
        for b in trainings
    )


def test_nothing_ran_during_the_latency_measurement(cluster_run):
    [clock] = cluster_run[1]["time"]
    assert clock["OverSubscribe"] == "NO"
    others = [job for attempts in cluster_run[1].values() for job in attempts if job is not clock]
    assert all(
        job["EndTime"] <= clock["StartTime"] or clock["EndTime"] <= job["StartTime"]
        for job in others
    )
