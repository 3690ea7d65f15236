"""`arithmetic: portable` in the configuration: what it sets, refuses and records."""

import json
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from dsacap.audit.causes import causes_of
from dsacap.audit.chain import settings_of
from dsacap.common import arithmetic
from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.runs.layout import Layout, manifest_of
from helpers import tiny_config

AVX2 = torch.cpu.get_capabilities().get("avx2", False)
needs_avx2 = pytest.mark.skipif(not AVX2, reason="needs an x86-64 processor with AVX2")


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own."""
    inherited = {n: v for n, v in os.environ.items() if n not in arithmetic.VARIABLES}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True)


def dsacap(*arguments: str) -> subprocess.CompletedProcess:
    return run(f"from dsacap.cli.main import main; raise SystemExit(main({list(arguments)!r}))")


def write_config(tmp_path, **changes):
    config = tiny_config(tmp_path, **changes)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json", exclude_unset=True)))
    return config, path


@needs_avx2
def test_a_stage_runs_and_records_portable_arithmetic(tmp_path):
    config, path = write_config(tmp_path, arithmetic="portable")
    layout = Layout(config)
    for verb in ("data", "encoder"):
        finished = dsacap(verb, "--config", str(path))
        assert finished.returncode == 0, finished.stderr
    recorded = read_json(manifest_of(layout.encoder))
    assert recorded["config"]["arithmetic"] == "portable"
    assert recorded["host"]["arithmetic"] == {"torch": "AVX2", **arithmetic.VARIABLES}


@needs_avx2
def test_it_refuses_if_torch_was_loaded_before(tmp_path):
    _, path = write_config(tmp_path, arithmetic="portable")
    code = (
        "import torch; from dsacap.cli.main import main;"
        " raise SystemExit(main(['data', '--config', %r]))"
    )
    finished = run(code % str(path))
    assert finished.returncode == 1
    assert "arithmetic: portable has to be set before torch is loaded" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_it_refuses_a_processor_without_avx2(monkeypatch):
    for name, value in arithmetic.VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": False, "fma3": False})
    with pytest.raises(
        UserError, match=r"needs an x86-64 processor with AVX2.*has no AVX2 and no FMA3; set ar"
    ):
        arithmetic.prepare("portable", "cpu")


def test_it_refuses_a_gpu(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="arithmetic: portable cannot be promised on a GPU"):
        tiny_config(tmp_path, arithmetic="portable", device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"this machine has one; set device: cpu"):
        arithmetic.prepare("portable", "auto")
    arithmetic.prepare("fast", "auto")


@pytest.mark.parametrize(("key", "value"), [("compile", True), ("precision", "bf16")])
def test_it_refuses_what_is_made_for_one_processor(tmp_path, key, value):
    training = {"steps": 2, key: value}
    with pytest.raises(
        UserError, match=rf"portable cannot be combined with training\.{key} of systems\.ar"
    ):
        tiny_config(tmp_path, arithmetic="portable", training=training)


@needs_avx2
def test_the_doctor_reports_portable_arithmetic(tmp_path):
    _, path = write_config(tmp_path, arithmetic="portable")
    assert (
        "ok       arithmetic portable: the same bytes on every x86-64"
        in dsacap("doctor", "--config", str(path)).stdout
    )


def test_results_have_other_folders_than_those_of_fast_arithmetic(tmp_path):
    fast, portable = (Layout(tiny_config(tmp_path, arithmetic=a)) for a in ("fast", "portable"))
    assert fast.data == portable.data  # they do not depend on floating-point numbers
    for place in ("encoder", "features", "generator", "latency"):
        assert getattr(fast, place) != getattr(portable, place)
    for system in ("ar", "dsacap-rl"):
        assert fast.system(system, 0) != portable.system(system, 0)
    assert Layout(tiny_config(tmp_path)).system("ar", 0) == fast.system("ar", 0)


def test_portable_results_have_folders_by_threads_processes_and_parts(tmp_path):
    """Each of them gives other bytes."""
    training = {"steps": 12, "batch_size": 6}
    changes = [{}, {"threads": 2}, {"processes": 2}, {"training": training | {"accumulate": 2}}]
    configs = [
        tiny_config(tmp_path, **({"arithmetic": "portable", "training": training} | change))
        for change in changes
    ]
    assert len({Layout(config).system("ar", 0) for config in configs}) == len(changes)


def test_measurements_of_time_use_the_fast_kernels():
    environment = {"PATH": "x", **arithmetic.VARIABLES}
    assert arithmetic.without_choice(environment, "portable") == {"PATH": "x"}
    assert arithmetic.without_choice(environment, "fast") == environment


def test_processors_are_no_cause_between_portable_runs(tmp_path):
    config = tiny_config(tmp_path, arithmetic="portable").model_dump(mode="json")
    code = {"commit": None, "dirty": None, "lock": "0" * 64}
    sides = [
        {"stage": "train", "config": config, "code": code, "facts": {}, "host": {"cpu": cpu}}
        for cpu in ("AMD", "Intel")
    ]
    assert not [c for c in causes_of("train ar seed 0", *sides, "") if c.kind == "hardware"]
    for side in sides:
        side["config"] = tiny_config(tmp_path).model_dump(mode="json")
    assert [c.what for c in causes_of("train ar seed 0", *sides, "") if c.kind == "hardware"] == [
        "CPU"
    ]


def test_the_arithmetic_is_a_setting_of_what_torch_computes(tmp_path):
    config = tiny_config(tmp_path, arithmetic="portable").model_dump(mode="json")
    for stage in ("encoder", "features", "generator", "train ar seed 0", "caption ar seed 0"):
        assert settings_of(config, stage, "greedy")["arithmetic"] == "portable"
    assert "arithmetic" not in settings_of(config, "score ar seed 0", "greedy")


@needs_avx2
def test_square_roots_are_correctly_rounded_and_differentiated():
    """torch's own are not: MKL's vector mathematics rounds one in five differently."""
    code = """
import numpy as np
from dsacap.common import arithmetic
arithmetic.choose_portable()
import torch
arithmetic.prepare("portable", "cpu")
x = torch.rand(1000, generator=torch.Generator().manual_seed(0), requires_grad=True)
exact = np.sqrt(x.detach().numpy())
in_place = x.detach().clone().sqrt_()
into_given = torch.sqrt(x.detach(), out=torch.empty(1000))
for root in (x.sqrt(), x**0.5, torch.sqrt(x), in_place, into_given):
    assert np.array_equal(root.detach().numpy(), exact)
x.sqrt().sum().backward()
torch.testing.assert_close(x.grad, 0.5 / x.detach().rsqrt().reciprocal())
assert torch.equal(torch.arange(5) ** 2, torch.tensor([0, 1, 4, 9, 16]))
torch.testing.assert_close(x**3, x * x * x)
assert torch.tensor(4.0).sqrt().shape == ()
"""
    finished = run(code)
    assert finished.returncode == 0, finished.stderr


def test_numpy_square_roots_are_exact():
    """The replacement relies on numpy giving the number that is nearest to the root."""
    for value in np.random.default_rng(0).random(1000):
        root = np.sqrt(value)
        exact, half = Fraction(value), Fraction(np.spacing(root)) / 2
        assert (Fraction(root) - half) ** 2 <= exact <= (Fraction(root) + half) ** 2
