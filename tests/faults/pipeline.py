"""The smoke pipeline as a process to disturb, and those of its files that must stay the same."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from dsacap.common.files import sha256

ROOT = Path(__file__).resolve().parents[2]
_TIMES = (
    ".lock",
    "manifest.json",
    ".manifest.json",
    "train.jsonl",
    "latency",
    ".log",
    "config.yaml",
    "checkpoint",
    "best.safetensors",
)
_MEASURED = ("latency_", "train_cpu_seconds", "memory_process_mib")


def smoke(
    folder: Path, cores: int = 2, environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """Start the pipeline in `folder`, where its output is appended to snakemake.log."""
    command = [
        Path(sys.executable).parent / "snakemake",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        folder,
    ]
    command += ["--cores", str(cores), "--configfile", ROOT / "config" / "smoke.yaml"]
    with (folder / "snakemake.log").open("a") as log:
        variables = {**os.environ, **(environment or {})}
        return subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env=variables, start_new_session=True
        )


def outcome(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a run, except times and numbers measured by a clock."""
    found = {}
    for path in sorted(folder.glob("work/**/*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part in name for part in _TIMES):
            found[name] = sha256(path)
    table = pd.read_csv(folder / "results" / "smoke" / "table.csv")
    found["table"] = table[~table.metric.str.startswith(_MEASURED)].to_csv(index=False)
    return found


def differences(folder: Path, other: Path) -> list[str]:
    a, b = outcome(folder), outcome(other)
    assert len(a) > 20, "the harness compares almost no files"
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
