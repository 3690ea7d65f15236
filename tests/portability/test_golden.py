"""A few steps of everything in portable arithmetic give the committed bytes on any processor."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsacap.common.arithmetic import VARIABLES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SITE_PACKAGES = Path(pytest.__file__).parents[1]
MINUTES = 60


def golden(*emulator: str, **environment: str) -> subprocess.CompletedProcess:
    """Run golden.py, by an emulator if one is given."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [*emulator, str(Path(sys.executable).resolve()), str(HERE / "golden.py")],
        env=inherited | {"PYTHONPATH": str(SITE_PACKAGES)} | environment,
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
    )


def assert_as_committed(run: subprocess.CompletedProcess) -> None:
    assert run.returncode == 0, run.stderr[-3000:]
    found, committed = json.loads(run.stdout), json.loads((HERE / "golden.json").read_text())
    assert list(found) == list(committed)
    other = [stage for stage in committed if found[stage] != committed[stage]]
    assert not other, f"other bytes than committed: {', '.join(other)}"


def test_this_processor_gives_the_committed_bytes():
    if not torch.cpu.get_capabilities().get("avx2"):
        pytest.skip("portable arithmetic needs an x86-64 processor with AVX2")
    assert_as_committed(golden())


@pytest.mark.emulated
@pytest.mark.parametrize("processor", ["EPYC", "Haswell"])
def test_another_processor_gives_the_committed_bytes(processor):
    """Twenty minutes each: torch alone takes half a minute to load in emulation."""
    assert_as_committed(golden(emulator(), "-cpu", processor))


@pytest.mark.emulated
def test_a_processor_without_avx2_is_refused():
    run = golden(emulator(), "-cpu", "Nehalem")
    assert run.returncode == 1
    assert "UserError: arithmetic: portable needs an x86-64 processor with AVX2" in run.stderr


def emulator() -> str:
    found = shutil.which("qemu-x86_64")
    if found is None:
        pytest.skip("needs the emulator qemu-x86_64 (Debian: apt-get install qemu-user)")
    return found
