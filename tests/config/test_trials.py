"""Trials: which settings a system is tried with."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from dsacap.common.errors import UserError
from dsacap.config.experiment import Config, parse_config
from dsacap.runs.layout import Layout
from helpers import tiny_config

FOLDER = Path(__file__).parents[2] / "config"
SLOW = {"training": {"learning_rate": 0.001}}
CLEAN = {"decoding": {"noise_level": 0.0}}


def with_trials(tmp_path, **trials) -> Config:
    return tiny_config(tmp_path, trials=trials)


def test_a_trial_changes_its_system_and_nothing_else(tmp_path):
    config = with_trials(tmp_path, ar={"as-it-is": {}, "slow": SLOW})
    layout = Layout(config)
    assert layout.trials == [(("ar", 0), "as-it-is"), (("ar", 0), "slow")]
    same, slow = (layout.tried("ar", name) for name in ("as-it-is", "slow"))
    assert slow.config.training_of("ar").learning_rate == 0.001
    assert slow.config.training_of("ar").steps == config.training.steps
    assert same.system("ar", 0) == layout.system("ar", 0) != slow.system("ar", 0)
    assert slow.features == layout.features
    assert list(slow.config.systems) == ["ar"] and not slow.config.trials


def test_trials_of_decodings_share_a_training(tmp_path):
    layout = Layout(with_trials(tmp_path, dsacap={"as-it-is": {}, "clean": CLEAN}))
    same, clean = (layout.tried("dsacap", name) for name in ("as-it-is", "clean"))
    assert same.system("dsacap", 0) == clean.system("dsacap", 0)
    assert same.validation("dsacap", 0) != clean.validation("dsacap", 0)
    decodings = clean.config.systems["dsacap"].decodings
    assert decodings == {"K=1": {"noise_level": 0.3}, "clean": {"noise_level": 0.0}}


def test_a_trial_keeps_what_its_system_learns_from(tmp_path):
    systems = tiny_config(tmp_path).model_dump(mode="json")["systems"]
    taught = {"system": "dsacap-rl", "decoding": "K=1"}
    systems["student"] = {**systems["ar"], "distilled_from": taught}
    config = tiny_config(tmp_path, systems=systems, trials={"student": {"slow": SLOW}})
    assert config.ancestors("student") == {"student", "dsacap-rl", "dsacap"}
    tried = Layout(config).tried("student", "slow")
    assert set(tried.config.systems) == config.ancestors("student")
    assert tried.lessons("student", 0).name == Layout(config).lessons("student", 0).name


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ({"ar": {"a": {}, "b": {}}, "dsacap": {"a": {}}}, "but there are ar 2, dsacap 1"),
        ({"nobody": {"a": {}}}, "trials.nobody: no trained system has this name"),
        ({"dsacap-rl": {"a": {}}}, "trials.dsacap-rl: no trained system has this name"),
        ({"ar": {"a": {"model": {"widht": 1}}}}, "trials.ar.a: systems.ar.model: unknown key"),
        ({"ar": {"a": {"training": {"stepz": 1}}}}, "systems.ar.training.stepz: unknown key"),
        ({"ar": {"a": {"decoding": {"noise": 1}}}}, "systems.ar.decodings.a: unknown key"),
        ({"ar": {"a": {"colour": 1}}}, "trials.ar.a.colour: unknown key"),
        ({"ar": {"a b": {}}}, "trials.ar"),
    ],
)
def test_a_wrong_trial_is_named(tmp_path, trials, message):
    with pytest.raises(UserError) as error:
        with_trials(tmp_path, **trials)
    assert message in str(error.value)


def test_an_unknown_trial_is_an_error(tmp_path):
    layout = Layout(with_trials(tmp_path, ar={"slow": SLOW}))
    with pytest.raises(UserError, match="trials: ar has no trial 'fast'; known: slow"):
        layout.tried("ar", "fast")
    with pytest.raises(UserError, match="trials: dsacap has no trial 'slow'; known: none"):
        layout.tried("dsacap", "slow")


@pytest.mark.parametrize(
    ("files", "count"),
    [
        (("scenes-long", "scenes", "trials/scenes"), 6),
        (("flickr8k", "rivals/flickr8k", "trials/flickr8k"), 4),
    ],
)
def test_every_captioner_of_the_benchmark_is_tried_as_often(files, count):
    """The first trial of each is the system as it is, which the others are compared with."""
    data: dict = {}
    for name in files:
        update_config(data, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
    config = parse_config(data, "merged")
    assert {len(of_system) for of_system in config.trials.values()} == {count}
    of_all, of_tried = (
        {config.captioner_of(system) for system in systems}
        for systems in (config.systems, config.trials)
    )
    assert of_all == of_tried
    for of_system in config.trials.values():
        first, *others = of_system.values()
        assert not first.changes and all(trial.changes for trial in others)
