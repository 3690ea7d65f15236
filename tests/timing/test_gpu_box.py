"""`measure-gpu`: its parts, its budget, what it keeps, and that it needs only few packages."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dsacap.captioner.interface import ImageSpec
from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.config.experiment import load_config
from dsacap.reporting.latency import write_latency
from dsacap.reporting.scale import record_of, write_scale
from dsacap.timing import gpu_box
from dsacap.timing.bounded import NOT_MEASURED
from dsacap.timing.full_size import Size
from dsacap.timing.gpu_box import (
    beside_transformers,
    latency_of,
    latency_report,
    measure_gpu,
    parts_of,
    scale_facts,
)
from dsacap.timing.published_peaks import published_peak
from helpers import tiny_config

SIZE = Size(batch_size=3, images=4, picture=64, pictures=2, vocabulary=120, seconds=0.01)
SPEC = ImageSpec(tokens=4, channels=16, vocabulary=120, max_words=9)
NEEDED = ["torch", "numpy", "pydantic", "pyyaml", "safetensors", "accelerate"]
# Read by Python before anything else.
BLOCKER = """
import importlib.machinery, os, sys

absent = set(os.environ["ABSENT"].split())

class Present(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Present
"""


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path)


def test_the_parts_are_those_of_the_configuration(config):
    names = [part.name for part in parts_of(config, SPEC, SIZE, [4, 1])]
    assert names[:4] == [
        "peak",
        "latency ar, greedy, eager, batch 1",
        "latency dsacap, K=1, eager, batch 1",
        "training ar",
    ]
    assert {"training dsacap-rl", "encoder", "reward"} <= set(names)
    compiled = {"latency ar, greedy, compiled, batch 4", "generate() beside ar, compiled, batch 1"}
    assert compiled <= set(names)
    assert len(names) == len(set(names))


def test_ar_is_compared_by_greedy_search_though_a_beam_is_its_first_decoding():
    parts = parts_of(load_config(Path("config/coco.yaml")), SPEC, SIZE, [1])
    timed = [part.arguments[:2] for part in parts if part.function is latency_of]
    assert {("ar", "beam=3"), ("ar", "greedy"), ("dsacap", "K=2, t_s=0.3")} <= set(timed)
    beside = {part.arguments[:2] for part in parts if part.function is beside_transformers}
    assert beside == {("ar", "greedy")}


class Measured:
    """Measures in no time, but for the parts that fail."""

    def __init__(self, *failing: str):
        self.failing, self.asked, self.limits = failing, [], []

    def __call__(self, function, arguments, seconds):
        name = next(
            part.name for part in self.parts if (part.function, part.arguments) ==
            (function, arguments[1:-1])
        )  # fmt: skip
        self.asked.append(name)
        self.limits.append(seconds)
        if name in self.failing:
            return {NOT_MEASURED: "needs the package transformers"}
        return {"measured": {"name": name}}


def run(config, monkeypatch, measured: Measured, folder, minutes: float = 5) -> dict:
    measured.parts = parts_of(config, SPEC, SIZE, [1, 4])
    monkeypatch.setattr(gpu_box, "bounded", measured)
    return measure_gpu(config, SPEC, SIZE, [1, 4], minutes, folder / "finished.json")


def test_finished_parts_are_kept_and_the_others_tried_again(config, tmp_path, monkeypatch):
    absent = "generate() beside ar, eager, batch 1"
    first, second = Measured(absent), Measured()
    found = run(config, monkeypatch, first, tmp_path)
    assert found[absent] == {NOT_MEASURED: "needs the package transformers"}
    assert sum("measured" in of for of in found.values()) == len(first.parts) - 1
    assert max(first.limits) <= 300
    found = run(config, monkeypatch, second, tmp_path)
    assert second.asked == [absent] and "measured" in found[absent]
    other = tiny_config(tmp_path, training={"steps": 99})
    with pytest.raises(UserError, match="measured on another machine, with other sizes or by"):
        run(other, monkeypatch, Measured(), tmp_path)


def test_without_time_nothing_begins(config, tmp_path, monkeypatch):
    measured = Measured()
    found = run(config, monkeypatch, measured, tmp_path, minutes=0.001)
    assert not measured.asked
    assert {of[NOT_MEASURED] for of in found.values()} == {
        "no time was left; run the same command again"
    }
    with pytest.raises(UserError, match="peak of the device was not measured: no time"):
        scale_facts(config, SPEC, SIZE, found)


@pytest.mark.parametrize(
    ("option", "value"),
    [("minutes", "0"), ("minutes", "nan"), ("minutes", "inf"), ("vocabulary", "3")],
)
def test_numbers_that_cannot_be_are_refused(capsys, option, value):
    assert main(["measure-gpu", f"--{option}", value]) == 1
    assert "all numbers must be finite and above 0, and --vocabulary" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["measure-gpu", "--output", str(tmp_path / "file")]) == 1
    assert "cannot be written, since" in capsys.readouterr().err


def test_latencies_become_a_page(config, tmp_path):
    settings = config.model_dump(mode="json", exclude_unset=True)
    found = {
        "latency ar": {"measured": latency_of(settings, "ar", "greedy", SPEC, False, 2, 0.01)},
        "generate()": {
            "measured": beside_transformers(settings, "ar", "greedy", SPEC, False, 1, 0.01)
        },
        "encoder": {NOT_MEASURED: "needs the package open_clip"},
    }
    report = latency_report(found, {"commit": "abc", "dirty": False})
    write_json(tmp_path / "latency.json", report)
    write_latency([tmp_path / "latency.json"], tmp_path / "latency.md")
    page = (tmp_path / "latency.md").read_text()
    assert "9 words: ms" in page and "Compared with transformers" in page
    assert "from commit abc" in page


def test_published_peaks():
    assert published_peak("NVIDIA H100 80GB HBM3")["bf16"] == 989.5e12
    assert published_peak("NVIDIA H100 PCIe")["bf16"] == 756.5e12
    assert published_peak("NVIDIA A100-SXM4-80GB")["fp32"] == 19.5e12
    assert published_peak("NVIDIA L4")["bf16"] < published_peak("NVIDIA L40S")["bf16"]
    assert published_peak("NVIDIA A10G") is None and published_peak("AMD EPYC") is None


def absent_modules() -> set[str]:
    """Return the top-level modules that an environment of NEEDED alone would not have."""
    present: set[str] = set()
    wanted = list(NEEDED)
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in present:
            continue
        present.add(name)
        try:
            requirements = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:  # of another platform
            continue
        wanted += [r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if module.isidentifier()
        and not {canonicalize_name(owner) for owner in owners} & {*present, "dsacap-bench"}
    }


def test_with_the_packages_named_alone(tmp_path):
    absent = absent_modules()
    assert {"transformers", "diffusers", "open_clip", "PIL", "pandas", "jpype"} <= absent
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    config = tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    del config["systems"]["dsacap"], config["systems"]["dsacap-rl"], config["generator"]
    (tmp_path / "tiny.yaml").write_text(json.dumps(config))
    arguments = ["--config", "tiny.yaml", "--output", "out", "--minutes", "5", "--tokens", "4"]
    arguments += ["--channels", "16", "--vocabulary", "120", "--batch-sizes", "1"]
    ours = os.environ.get("PYTHONPATH", os.getcwd())
    environment = os.environ | {
        "ABSENT": " ".join(absent),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), ours]),
        "TORCH_COMPILE_DISABLE": "1",  # compiling takes a minute
    }
    done = subprocess.run(
        [sys.executable, "-m", "dsacap.cli", "measure-gpu", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no usable GPU, so the CPU is measured" in done.stderr
    found = read_json(tmp_path / "out" / "finished-cpu.json")["parts"]
    assert set(found) == {
        "peak",
        "training ar",
        "latency ar, greedy, eager, batch 1",
        "latency ar, greedy, compiled, batch 1",
    }
    assert "not measured: encoder: needs the package" in done.stdout
    needs = "not measured: generate() beside ar, eager, batch 1: needs the package transformers"
    assert needs in done.stdout

    page = tmp_path / "out" / "scale.md"
    assert record_of(page, "cpu").exists()
    write_scale(load_config(tmp_path / "tiny.yaml"), page)
    assert "- encoder: not measured" in page.read_text()
    write_latency([tmp_path / "out" / "latency-cpu.json"], tmp_path / "out" / "latency.md")
    assert "32 words: ms" in (tmp_path / "out" / "latency.md").read_text()
