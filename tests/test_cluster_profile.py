"""The resources in profiles/slurm reach every job. tests/slurm runs these jobs on a real Slurm."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROFILE = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())


def planned(folder: Path, config: str, *settings: str) -> dict[str, list[dict[str, str]]]:
    """Return rule -> threads and resources of its jobs, for `config` on a cluster with GPUs."""
    (folder / "config").symlink_to(ROOT / "config")
    command = [
        Path(sys.executable).with_name("snakemake"),
        "--dry-run",
        "--directory",
        folder,
        "--config",
        "device=cuda",
        *settings,
    ]
    command += ["--workflow-profile", "profiles/slurm", "--configfile", config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs: dict[str, list[dict[str, str]]] = {}
    for rule, job in re.findall(r"^rule (\w+):\n((?: {4}.*\n)+)", done.stdout, re.MULTILINE):
        fields = dict(re.findall(r"^ {4}(threads|resources): (.*)", job, re.MULTILINE))
        resources = dict(pair.split("=", 1) for pair in fields["resources"].split(", "))
        jobs.setdefault(rule, []).append({"threads": fields.get("threads", "1"), **resources})
    return jobs


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    return planned(tmp_path_factory.mktemp("plan"), "config/smoke.yaml", "seeds=[0, 1]")


def test_each_seed_of_each_system_is_a_job_with_a_gpu(plan):
    assert len(plan["train"]) == 6 and len(plan["tune"]) == 2 and len(plan["caption"]) == 8
    for rule in ("features", "generator", "train", "tune", "caption", "time"):
        assert {job.get("gpu") for job in plan[rule]} == {"1"}, rule
    assert all("gpu" not in job for rule in ("data", "score", "report") for job in plan[rule])


def test_a_stage_with_several_processes_has_a_cpu_for_each(tmp_path):
    coco = yaml.safe_load((ROOT / "config/coco.yaml").read_text())
    assert coco["encoder"]["workers"] == 8
    assert {job["threads"] for job in planned(tmp_path, "config/coco.yaml")["features"]} == {"9"}


def test_every_job_has_memory_and_a_time_limit(plan):
    for rule, jobs in plan.items():
        for job in jobs:
            assert int(job["mem_mb"]) >= 4000 and 30 <= int(job["runtime"]) <= 1440, rule


def test_rules_that_are_given_resources_exist(plan):
    assert PROFILE["set-resources"].keys() | PROFILE["set-threads"].keys() <= plan.keys()


def test_nothing_runs_during_the_latency_measurement(plan):
    assert [job["slurm_extra"] for job in plan["time"]] == ["--exclusive"]


def test_each_attempt_may_use_more_memory():
    asked = [PROFILE["default-resources"], *PROFILE["set-resources"].values()]
    memory = [resources["mem_mb"] for resources in asked if "mem_mb" in resources]
    assert memory and all(expression.startswith("attempt * ") for expression in memory)
    assert PROFILE["retries"] > 0 and PROFILE["slurm-requeue"] is True


def test_kubernetes_job_runs_the_pipeline_on_the_volume():
    claim, job = yaml.safe_load_all((ROOT / "profiles/kubernetes/job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    [main] = pod["containers"]
    assert (
        main["command"][0] == "snakemake"
        and (ROOT / main["command"][main["command"].index("--configfile") + 1]).exists()
    )
    assert {"name": "bench", "mountPath": main["workingDir"]} in main["volumeMounts"]
    assert {
        "name": "bench",
        "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]},
    } in pod["volumes"]
