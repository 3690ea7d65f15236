"""Trials, trained and scored on validation by the command line, and their table."""

import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from dsacap.cli.main import main
from dsacap.common.files import read_json, write_json
from dsacap.reporting.trials import write_trials
from dsacap.runs.layout import Layout, manifest_of
from dsacap.scoring.random_effects import effect
from helpers import borrow, tiny_config

TRIALS = {
    "ar": {"as-it-is": {}, "slow": {"training": {"learning_rate": 0.0001}}},
    "dsacap": {"as-it-is": {}, "clean": {"decoding": {"noise_level": 0.0}}},
}
MADE = {"code": {"commit": "c0ffee", "dirty": False}, "host": {"cpu": "abacus"}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a verb with the configuration of the test."""

    def of_command(verb: str, *options: str) -> None:
        command = [verb, "--config", str(tmp_path / "config.yaml"), *options]
        monkeypatch.setattr(sys, "argv", ["dsacap", *command])  # manifests have it
        assert main(command) == 0

    return of_command


def test_trials_are_trained_once_each_and_scored_on_validation(tiny_layout, tmp_path, run, capsys):
    config = tiny_config(tmp_path, trials=TRIALS)
    layout = borrow(Layout(config), tiny_layout)
    settings = config.model_dump(mode="json", exclude_unset=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    assert main(["report-trials", "--config", str(tmp_path / "config.yaml")]) == 1
    assert "no trial is finished; run snakemake" in capsys.readouterr().err
    for system, trial in (("ar", "as-it-is"), ("ar", "slow"), ("dsacap", "clean")):
        run("train", "--system", system, "--trial", trial)
        run("score-validation", "--system", system, "--trial", trial)
    weights = list(layout.root.glob("*-seed0-*/model.safetensors"))
    assert len(weights) == 3
    slow = layout.tried("ar", "slow")
    (scores,) = read_json(slow.validation("ar", 0)).values()
    facts = read_json(manifest_of(slow.system("ar", 0)))["facts"]
    assert len(scores) == 6
    assert np.mean([*scores.values()]) == pytest.approx(facts["val_CIDEr"], abs=1e-9)
    clean = read_json(layout.tried("dsacap", "clean").validation("dsacap", 0))
    assert list(clean) == ["K=1", "clean"]

    run("report-trials")
    table = pd.read_csv(layout.trials_table.with_suffix(".csv"))
    assert list(zip(table.system, table.trial, strict=True)) == [
        *(("ar", "as-it-is"), ("ar", "slow")),
        ("dsacap", "clean"),
    ]
    assert table.CIDEr[1] == pytest.approx(100 * facts["val_CIDEr"])
    assert table.command[1].endswith("config.yaml --system ar --trial slow")
    text = layout.trials_table.read_text()
    assert "learning_rate: 0.0001" in text and "| as-it-is | -" in text
    unfinished = next(line for line in text.splitlines() if "not finished" in line)
    assert unfinished.startswith("| as-it-is")


def finished(layout: Layout, system: str, trial: str, scores: list[float]) -> None:
    tried = layout.tried(system, trial)
    *_, decoding = tried.config.systems[system].decodings
    path = tried.validation(system, 0)
    write_json(path, {decoding: {str(i): score for i, score in enumerate(scores)}})
    write_json(manifest_of(path), MADE)
    facts = {"facts": {"train_cpu_seconds": 7.0}, "command": ["dsacap", "train"]}
    write_json(manifest_of(tried.system(system, 0)), MADE | facts)


def test_the_best_is_named_with_its_difference_from_the_system_as_it_is(tmp_path):
    layout = Layout(tiny_config(tmp_path, trials=TRIALS))
    before, after = [1.0, 2.0, 3.0, 4.0], [1.5, 2.4, 3.6, 4.7]
    finished(layout, "ar", "as-it-is", before)
    finished(layout, "ar", "slow", after)
    finished(layout, "dsacap", "as-it-is", after)
    finished(layout, "dsacap", "clean", before)
    write_trials(layout)
    lines = layout.trials_table.read_text().splitlines()
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")
    ]
    more = effect([100 * np.subtract([after], [before])])
    interval = f"{more.low:+.1f} to {more.high:+.1f}"
    assert ["ar", "slow", "305.0", f"{more.value:+.1f}", interval, "2 of 2"] in cells
    assert ["dsacap", "as-it-is", "305.0", "-", "-", "2 of 2"] in cells
    assert ["clean", "noise_level: 0.0", "250.0", "-55.0"] in [row[:4] for row in cells]
    assert ["as-it-is", "-", "**305.0**", "-", "-", "7"] in cells
    table = pd.read_csv(layout.trials_table.with_suffix(".csv"))
    assert list(table.best) == [False, True, True, False]
