"""Full and read-only disks, few file handles and little memory, in every stage.

The stage reports the problem, no existing file is lost, no incomplete file has its final name, and
the same command then succeeds. The disk is a tmpfs that the test mounts, which needs root.
"""

import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsacap.cli.main import main
from dsacap.common.files import read_json, read_jsonl, read_tensors, sha256
from helpers import tiny_config

_LONGEST = 300  # seconds of a stage
# Stages import these late. Running out of memory in an import leaves half a module, whose errors
# are unpredictable.
_LOADED_LATE = (
    "dsacap.vision.generators.generator",
    "matplotlib.figure",
    "open_clip",
    "safetensors.torch",
    "torchvision.transforms",
)
# Rust (safetensors, tokenizers) prints this when it gets no memory, and aborts the process, which
# Python cannot prevent.
_ABORTED = re.compile(r"^(?:.*it/s\])?memory allocation of \d+ bytes failed$", re.MULTILINE)
_PAGE = os.sysconf("SC_PAGESIZE")
_TRAINED, _TUNED = ("ar", "dsacap", "ar-eyes"), ("dsacap-rl",)
_OF_SYSTEMS = {
    "train": _TRAINED,
    "tune": _TUNED,
    "caption": _TRAINED + _TUNED,
    "score": ("human", *_TRAINED, *_TUNED),
}
STAGES = (
    *(("data",), ("encoder",), ("features",), ("pixels",), ("generator",)),
    *((verb, "--system", system) for verb, systems in _OF_SYSTEMS.items() for system in systems),
    *(("time",), ("report",), ("report-captions",)),
)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of the test's own, whose size can be changed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1g", "dsacap-faults", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(("remount", *options)), folder], check=True)


def run(arguments: list[str], log: Path, limits: dict[int, int] | None = None) -> int:
    """Run `dsacap` under limits in a forked process that has loaded all modules.

    Returns the exit status, which is 99 after a traceback.
    """
    pid = os.fork()
    if not pid:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        try:
            for limit, most in (limits or {}).items():
                resource.setrlimit(limit, (most, resource.getrlimit(limit)[1]))
            status = main(arguments)
        except BaseException:
            traceback.print_exc()
            status = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    ends = time.monotonic() + _LONGEST
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > ends:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(ended[1])


def whole(folder: Path) -> dict[Path, str]:
    """Read every file that has its final name, and return their hashes."""
    found = {}
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    ):
        reader = {".json": read_json, ".jsonl": read_jsonl, ".safetensors": read_tensors}.get(
            path.suffix
        )
        if reader and path.name != "train.jsonl":  # grows line by line
            reader(path)
        found[path] = sha256(path)
    return found


@pytest.mark.faults
def test_every_stage_on_disks_and_limits_that_fail(disk, tmp_path, count):
    for name in _LOADED_LATE:
        importlib.import_module(name)
    config, log, tried = tmp_path / "tiny.yaml", tmp_path / "log", Counter()
    torn = set()  # hidden files left by processes that were aborted
    settings = tiny_config(disk / "work", results=str(disk / "results")).model_dump(
        mode="json", exclude_unset=True
    )
    settings["systems"]["ar-eyes"] = {
        **settings["systems"]["ar"],
        "training": {"fine_tune": {"learning_rate": 0.001}},  # which reads pixels
    }
    config.write_text(json.dumps(settings))
    for stage in STAGES:
        command, before = [*stage, "--config", str(config)], whole(disk)

        def fails(what: str, command=command, before=before, **limits) -> None:
            status, printed = run(command, log, **limits), log.read_text()
            aborted = (
                resource.RLIMIT_AS in limits.get("limits", {})
                and status == -signal.SIGABRT
                and _ABORTED.search(printed)
            )
            assert aborted or (status in (0, 1) and "Traceback" not in printed), (
                what,
                command,
                status,
                printed,
            )
            assert aborted or status == 0 or "error: " in printed, (what, command, printed)
            ending = "refused" if status else "done all the same"
            tried[f"{what}: {'ended by a library' if aborted else ending}"] += 1
            after = whole(disk)
            grown = [path for path in before if path.name == "train.jsonl"]
            assert {path: after.get(path) for path in before if path not in grown} == {
                p: d for p, d in before.items() if p not in grown
            }
            if aborted:
                torn.update(disk.rglob("*.tmp"))
            assert torn.issuperset(disk.rglob("*.tmp")), (what, command)

        fails(
            "few file handles",
            limits={resource.RLIMIT_NOFILE: 3 + len(os.listdir("/proc/self/fd"))},
        )
        fails("little memory", limits={resource.RLIMIT_AS: _address_space() + 2**24})
        remount(disk, "ro")
        fails("a read-only disk")
        remount(disk, "rw")
        for room in (0, 10 * _PAGE):
            used = shutil.disk_usage(disk).used
            remount(disk, f"size={used + room}")
            fails("a full disk")
            remount(disk, "size=1g")
        status = run(command, log)
        assert status == 0, (command, log.read_text())
        tried["stages run afterwards"] += 1
    count(stages=len(STAGES), **tried)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
