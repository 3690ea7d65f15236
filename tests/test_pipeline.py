"""The workflow as a user runs it: the smoke configuration in an empty folder, then again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dsacap.common.files import read_json, sha256
from dsacap.runs.layout import Layout
from helpers import borrow, tiny_config

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def snakemake(folder: Path, *arguments: str) -> str:
    command = [
        BIN / "snakemake",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        folder,
        "--cores",
        "2",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    snakemake(folder, "--configfile", str(ROOT / "config/smoke.yaml"))
    return folder


def test_smoke_run_makes_the_tables(finished):
    results = finished / "results/smoke"
    text = (results / "table.md").read_text()
    parts = ("Quality", "Diversity", "Quality against diversity", "Latency", "Training")
    for part in (*parts, "How this was made"):
        assert f"## {part}" in text
    assert (results / "table-diversity.svg").exists()
    numbers = pd.read_csv(results / "table.csv")
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    rows = {(s, d) for s, system in config["systems"].items() for d in system["decodings"]} | {
        ("human", "references")
    }
    cider = numbers[numbers.metric == "held_out_CIDEr"]
    assert set(zip(cider.system, cider.decoding, strict=True)) == rows
    # 40 steps are too few to learn anything.
    assert cider[cider.system == "human"].value.item() > cider[cider.system != "human"].value.max()
    assert (
        (numbers[numbers.metric == "held_out_grammatical"].set_index("system").value["human"])
        == 100
    )


def test_the_page_is_a_target_and_goes_into_snakemakes_report(finished):
    configured = ("--configfile", str(ROOT / "config/smoke.yaml"))
    snakemake(finished, "results/smoke/index.html", *configured)
    (content,) = re.findall(
        'id="content">(.*?)</script>',
        (finished / "results/smoke/index.html").read_text(),
        re.DOTALL,
    )
    content = json.loads(content)
    assert list(content["insides"]) == ["dsacap", "dsacap-rl"] and len(content["images"]) == 30
    assert (
        all(len(row["weights"]) == 64 for row in content["tradeoff"])
        and len({row["weights"] for row in content["tradeoff"]}) == 4
    )
    snakemake(
        finished,
        "results/smoke/table.md",
        "results/smoke/index.html",
        *configured,
        "--report",
        str(finished / "report.zip"),
    )
    packed = {Path(name).name for name in zipfile.ZipFile(finished / "report.zip").namelist()}
    assert {"report.html", "index.html", "table.md", "table.svg"} <= packed


def test_a_second_run_does_nothing(finished):
    before = {
        path: path.stat().st_mtime_ns
        for path in finished.rglob("*")
        if "work" in path.parts and path.is_file()
    }
    assert "Nothing to be done" in snakemake(
        finished, "--configfile", str(ROOT / "config/smoke.yaml")
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_new_decoding_runs_its_own_stages_only(finished):
    plan = snakemake(
        finished,
        "-n",
        "--configfile",
        str(ROOT / "config/smoke.yaml"),
        "--config",
        "decoding={'seed': 1}",
    )
    stats = plan.split("Job stats:")[1].split("total")[0]
    assert (
        "caption" in stats and "score" in stats and "train" not in stats and "features" not in stats
    )


def test_a_second_run_at_the_same_time_is_refused(tmp_path):
    """Planning is allowed; a run that would write is refused, with the process of the other run."""
    command = [
        BIN / "snakemake",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        tmp_path,
        "--cores",
        "2",
    ]
    command += ["--configfile", ROOT / "config/smoke.yaml"]
    holder = (
        "import sys, time, pathlib, dsacap.common.locks as locks; "
        "locks.claim(pathlib.Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path / "work" / "smoke"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as running:
        running.stdout.readline()
        refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert (
            refused.returncode != 0
            and f"another run works here (process {running.pid}" in refused.stdout + refused.stderr
        )
        assert not list(tmp_path.glob("work/smoke/data-*"))
        assert "data" in snakemake(tmp_path, "-n", "--configfile", str(ROOT / "config/smoke.yaml"))
        running.kill()


def test_a_row_that_was_restored_is_scored_and_not_trained(finished, tmp_path):
    for file in finished.glob("work/smoke/ar-seed0-*/[mc]*.json"):
        target = tmp_path / file.relative_to(finished)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    plan = snakemake(tmp_path, "-n", "row_ar", "--configfile", str(ROOT / "config/smoke.yaml"))
    stats = plan.split("Job stats:")[1].split("total")[0]
    assert (
        "score" in stats and "row_ar" in stats and "train" not in stats and "caption" not in stats
    )


def test_claims_are_tested_on_existing_rows(finished):
    """The ablation shares the table's rows; only new ones are computed."""
    configs = [
        "--configfile",
        str(ROOT / "config/smoke.yaml"),
        str(ROOT / "config/ablation/smoke.yaml"),
    ]
    weights = {
        path: path.stat().st_mtime_ns
        for path in finished.glob("work/smoke/*-seed0-*/model.safetensors")
    }
    snakemake(finished, "results/smoke/ablation.md", "results/smoke/claims.md", *configs)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert "| temperature" in (finished / "results/smoke/ablation.md").read_text()
    table = pd.read_csv(finished / "results/smoke/ablation.csv")
    judged = table[table.metric == "judged_reconstruction"]
    assert (
        set(judged.system) == {"human", "ar", "masked-diffusion", "dsacap", "dsacap-rl"}
        and judged.value.between(-100, 100).all()
    )
    claims = pd.read_csv(finished / "results/smoke/claims.csv")
    assert list(claims.claim) == ["C1"] * 4 + ["Q1", "Q2", "Q2", "Q3"]
    assert list(claims.role[:4]) == ["primary", "secondary", "control", "control"]
    verdicts = claims.set_index("claim").verdict_of_claim
    assert set(verdicts.drop("Q1")) == {"undecided"}  # of one seed
    assert verdicts["Q1"] in ("supported", "not supported", "undecided")
    text = (finished / "results/smoke/claims.md").read_text()
    assert "| C1: noising the image loses less" in text
    assert "Nothing to be done" in snakemake(
        finished, "results/smoke/table.md", "--configfile", str(ROOT / "config/smoke.yaml")
    )


def test_claims_need_only_what_they_compare(tmp_path):
    """Nothing is trained for them that no claim needs.

    Restored rows have no weights: to be timed, they would be trained again. A generator is only
    needed for claims on reconstruction.
    """
    photos = tmp_path / "data/flickr8k"
    photos.mkdir(parents=True)
    for name in ("images.zip", "dataset_flickr8k.json"):
        (photos / name).touch()
    on_scenes = [
        ROOT / "config" / name for name in ("scenes-long.yaml", "ablation/scenes-long.yaml")
    ]
    on_photos = [
        ROOT / "config" / name
        for name in ("flickr8k.yaml", "rivals/flickr8k.yaml", "ablation/flickr8k-rivals.yaml")
    ]
    for configs, compares_reconstructions in ((on_scenes, True), (on_photos, False)):
        planned = snakemake(tmp_path, "-n", "results/claims.md", "--configfile", *map(str, configs))
        stages = planned.split("Job stats:")[1].split("total")[0].split()
        assert "report_claims" in stages and "time" not in stages
        assert {stage in stages for stage in ("reconstruct", "generator", "judge_generator")} == {
            compares_reconstructions
        }


def test_a_generator_with_an_encoder_of_its_own_has_photos_encoded_by_it(tmp_path):
    own = {"generator": {"encoder": {"train": {"steps": 20, "seed": 5}}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    configs = ["--configfile", str(ROOT / "config/smoke.yaml"), str(tmp_path / "own.yaml")]
    stats = snakemake(tmp_path, "-n", *configs).split("Job stats:")[1].split("total")[0]
    assert {"encoder", "features", "sight_encoder", "sight_features", "generator"} <= set(
        stats.split()
    )


def test_trials_that_differ_in_decoding_share_a_training(tmp_path):
    trials = {"dsacap": {"as-it-is": {}, "slow": {"training": {"learning_rate": 0.001}}}}
    trials["dsacap"]["clean"] = {"decoding": {"noise_level": 0}}
    (tmp_path / "trials.yaml").write_text(yaml.safe_dump({"trials": trials}))
    configs = ["--configfile", str(ROOT / "config/smoke.yaml"), str(tmp_path / "trials.yaml")]
    plan = snakemake(tmp_path, "-n", "results/smoke/trials.md", *configs)
    stats = plan.split("Job stats:")[1].split("total")[0].splitlines()[3:]
    jobs = dict(line.split() for line in stats if line)
    trained = {"train_dsacap_as-it-is", "train_dsacap_slow"}
    scored = {f"score_validation_dsacap_{name}" for name in trials["dsacap"]}
    shared = {"data", "encoder", "features", "report_trials"}
    assert jobs.keys() == trained | scored | shared and set(jobs.values()) == {"1"}


def test_kill_9_in_training_and_the_same_command_again(tiny_layout, tmp_path):
    """After a real SIGKILL in mid-training, the weights are those of an undisturbed run."""
    config = tiny_config(
        tmp_path / "a",
        training={
            "steps": 200,
            "batch_size": 6,
            "warmup": 2,
            "evaluations": 20,
            "validation_images": 6,
        },
    )
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True))
    )
    train = [BIN / "dsacap", "train", "--config", tmp_path / "config.yaml", "--system", "ar"]
    work = borrow(Layout(config), tiny_layout).root
    subprocess.run(train, check=True, capture_output=True)
    run = next(work.glob("ar-*"))
    expected = sha256(run / "model.safetensors")
    finished_at = read_json(run / "manifest.json")["facts"]["steps"]
    run.rename(tmp_path / "undisturbed")

    process = subprocess.Popen(train, stderr=subprocess.PIPE)
    while not list(run.glob("checkpoint/*.safetensors")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    reached = int(max(run.glob("checkpoint/*.safetensors")).stem.removeprefix("step-"))
    assert reached < finished_at and not (run / "model.safetensors").exists()
    subprocess.run(train, check=True, capture_output=True)
    assert sha256(run / "model.safetensors") == expected
