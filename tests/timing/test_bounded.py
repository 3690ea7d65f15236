"""Measurements in processes of their own: results, faults of all kinds, and time that is over."""

import os
import subprocess
import sys
import time
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.timing.bounded import NOT_MEASURED, bounded


def fails_by(kind: str):
    if kind == "package":
        import package_that_nobody_has  # noqa: F401
    if kind == "user":
        raise UserError("the picture is too large; take a smaller one")
    if kind == "memory":
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if kind == "fault":
        raise ValueError("first line\nsecond line")
    os._exit(7)


def starts_a_compiler(started: Path):
    compiler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    started.write_text(str(compiler.pid))
    time.sleep(600)


def test_results_and_reasons():
    assert bounded(divmod, (17, 5), 600) == {"measured": (3, 2)}
    reasons = {
        kind: bounded(fails_by, (kind,), 600)[NOT_MEASURED]
        for kind in ("package", "user", "memory", "fault", "exit")
    }
    assert reasons["package"] == "needs the package package_that_nobody_has"
    assert reasons["user"] == "the picture is too large; take a smaller one"
    assert reasons["memory"].startswith("out of memory")
    assert reasons["fault"] == "ValueError: first line"
    assert reasons["exit"] == "its process ended with status 7"


def test_time_that_is_over(tmp_path):
    started = time.monotonic()
    pid_file = tmp_path / "pid"
    assert bounded(starts_a_compiler, (pid_file,), 10)[NOT_MEASURED] == "took longer than 10 s"
    assert time.monotonic() - started < 300
    compiler = Path("/proc", pid_file.read_text())
    while compiler.exists() and "zombie" not in (compiler / "status").read_text():
        assert time.monotonic() - started < 300, "the process that it started is still running"
        time.sleep(0.1)
