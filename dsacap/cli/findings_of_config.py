"""What `dsacap doctor` finds out about the machine for a configuration; reading one needs torch."""

import os
from collections.abc import Iterator

import torch

from dsacap.cli.findings_of_machine import Finding, findings_of_machine, spice_parser
from dsacap.common import arithmetic
from dsacap.common.disk import by_disk, existing, free_space
from dsacap.common.errors import UserError
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.runs.layout import Layout
from dsacap.scoring.java.corenlp import CODE, MODELS, cache_folder
from dsacap.stages.disk_estimate import predicted_sizes

_WORK = 2 * 10**9  # bytes: the working files of a run of scenes, with a margin


def findings_of_config(config: Config) -> Iterator[Finding]:
    """Examine everything that a configuration needs."""
    spice = _spice(config)
    yield from findings_of_machine()
    yield spice
    yield from _folders(config, spice)
    yield _gpu(config)
    yield _arithmetic(config)
    yield from _data(config)


def _spice(config: Config) -> Finding:
    if config.scoring.spice == "off":
        return Finding("ok", "SPICE", "switched off by the configuration")
    return spice_parser()


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


def _data(config: Config) -> Iterator[Finding]:
    if isinstance(config.dataset, Scenes):
        yield Finding("ok", "data", "generated")
        return
    dataset = config.dataset
    unpacked = {
        path: archive for archive, remote in dataset.downloads.items() for path in remote.unpack
    }
    photos = dataset.images.values() if config.reads_photos else ()
    if (features := config.encoder.features) and not features.exists():
        remedy = "put your features there, or correct `encoder.features`"
        yield Finding("missing", "data", f"{features}: does not exist", remedy)
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
