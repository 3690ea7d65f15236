import re

import pytest
import yaml

from dsacap.captioner.registry import load_captioner
from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.dry_run import rehearse
from helpers import tiny_config


def test_a_dry_run_reports_costs_and_stores_nothing(tiny_layout):
    before = sorted(tiny_layout.root.rglob("*"))
    report = rehearse(tiny_layout, "ar", 0)
    settings = tiny_layout.config.systems["ar"]
    parameters = sum(
        p.numel()
        for p in load_captioner(
            settings.captioner, settings.model, Inputs(tiny_layout).spec
        ).parameters()
    )
    assert f"parameters  {parameters:,}\n" in report
    assert re.search(r"steps       12 of 6 images, [\d.e-]+ s each \(median of 10\)", report)
    assert re.search(
        r"validation  [\d.]+ seconds: 2 x 6 images, [\d.e+]+ images/s with the captions of", report
    )
    assert sorted(tiny_layout.root.rglob("*")) == before


def test_hours_follow_from_the_steps(tiny_layout):
    """A thousand times the steps take about a thousand times as long; a machine's speed drifts."""

    def seconds(steps: int) -> float:
        changed = tiny_config(
            tiny_layout.config.work,
            training={**tiny_layout.config.training.model_dump(exclude_unset=True), "steps": steps},
        )
        number, unit = re.search(
            r"training    ([\d.]+) (\w+)", rehearse(Layout(changed), "ar", 0)
        ).groups()
        return float(number) * {"seconds": 1, "minutes": 60, "hours": 3600}[unit]

    assert 100 < seconds(2_000_000) / seconds(2_000) < 10_000


def test_the_dry_run_of_a_tuning_needs_the_trained_system(tiny_layout):
    with pytest.raises(
        UserError,
        match="dsacap-rl: is tuned from dsacap, whose weights do not exist yet; train dsacap first",
    ):
        rehearse(tiny_layout, "dsacap-rl", 0)


def test_the_verb_has_a_dry_run(tiny_layout, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(tiny_layout.config.model_dump(mode="json", exclude_unset=True))
    )
    assert (
        main(
            ["train", "--config", str(tmp_path / "config.yaml"), "--system", "dsacap", "--dry-run"]
        )
        == 0
    )
    assert capsys.readouterr().out.startswith("dsacap, dry run; nothing is stored\n  device ")
