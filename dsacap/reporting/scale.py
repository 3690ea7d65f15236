"""scale.md: what a configuration takes at its own size, from what `dsacap measure-scale` measured on a CPU, a GPU, or both."""

from dataclasses import dataclass
from pathlib import Path

from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_text
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.reporting.pipe_table import markdown

KINDS = {"cuda": "GPU", "cpu": "CPU"}
_UNKNOWN = "not measured"
_GOAL = 0.4  # MFU
_METHOD = """\
Written by `dsacap measure-scale`. Weights and features are random, of the configured shapes, so nothing was downloaded or trained for it;
captions have the lengths of COCO's.

- **A step** is forward, backward, clipping and AdamW, data from memory: the median of up to 10 after 3.
- **MFU**: the operations that torch counts (products of matrices and attention, forward and backward) a second, over what a product of two
  large square matrices reaches on the same device in the same precision.
- **Decoding** is of captions that fill all their {words} words, about twice as many as COCO's have.
- **Reward**: from captions to pictures to what the encoder sees in them.
- **Memory**: held are weights, gradients and optimizer; the peak is that of a system's process, on a GPU what torch allocated."""


def record_of(page: Path, kind: str) -> Path:
    """Where the manifest of a measurement lies."""
    return page.with_name(f"{page.stem}-{kind}.json")


def check_page(config: Config, page: Path) -> None:
    """UserError, before anything is measured, where `page` is of another configuration."""
    for record in (record_of(page, kind) for kind in KINDS):
        if record.exists() and (name := read_json(record)["config"]["name"]) != config.name:
            raise UserError(
                f"{record}: is of the configuration {name}; name another page by --output"
            )


def write_scale(config: Config, page: Path) -> None:
    """Writes `page` from the records that lie beside it. UserError where one is of another configuration."""
    records = {
        kind: read_json(record_of(page, kind)) for kind in KINDS if record_of(page, kind).exists()
    }
    for kind, record in records.items():
        if record["config"] != config.model_dump(mode="json"):
            told = f"{record_of(page, kind)}: was measured with another configuration"
            raise UserError(
                f"{told}; measure again on a {KINDS[kind]} or delete it, or write another page by --output"
            )
    parts = [f"# The size of {config.name}", _METHOD.format(words=config.text.max_words)]
    for kind, name in KINDS.items():
        parts += [
            f"## {name}",
            *(
                _measured(config, kind, records[kind])
                if kind in records
                else [f"{name}: {_UNKNOWN}."]
            ),
        ]
    parts += ["## The whole benchmark", _whole(config, records)]
    write_text(page, "\n\n".join(parts) + "\n")


def _neighbours(kind: str, record: dict) -> str:
    """What to know of a CPU that was not idle."""
    alone = (
        kind != "cpu"
        or record["cpu_seconds"] > 0.8 * record["seconds"] * record["facts"]["machine"]["threads"]
    )
    return (
        ""
        if alone
        else ": other work ran beside it, so rates here are low and hours high by about as much"
    )


def _measured(config: Config, kind: str, record: dict) -> list[str]:
    facts, code = record["facts"], record["code"]
    size, peak = facts["size"], facts["peak"]
    machine = ", ".join(
        f"{name} {value}" for name, value in facts["machine"].items() if value is not None
    )
    told = (
        f"{machine}. Peak of a product of matrices: {peak['fp32'] / 1e12:.3g} TFLOP/s fp32, {peak['bf16'] / 1e12:.3g} TFLOP/s bf16. "
        f"{size['batch_size']} images a step, {size['images']} at once to encode and to decode, {size['pictures']} picture(s) of "
        f"{size['picture']} px, {size['vocabulary']:,} words, {facts['encoder_cost']['tokens']} tokens of "
        f"{facts['encoder_cost']['channels']} channels. Measured {record['started'][:19]} from commit {code['commit']}"
        f"{' with local changes' if code['dirty'] else ''} by `{' '.join(record['command'])}`, "
        f"{record['cpu_seconds']:,.0f} CPU-seconds in {record['seconds']:,.0f} seconds{_neighbours(kind, record)}."
    )
    rows = []
    for name, of in facts["systems"].items():
        step = of["step"]
        flops = step["flops"] / step["seconds"]
        rows.append(
            [
                config.systems[name].label or name,
                f"{step['parameters'] / 1e6:.1f}",
                step["precision"] + (", compiled" if step["compiled"] else ""),
                _rate(1 / step["seconds"]),
                _rate(step["images"] / step["seconds"]),
                f"{100 * flops / peak[step['precision']]:.0f} %",
                f"{step['held_mib']:,}",
                f"{step['peak_mib']:,}",
                ", ".join(f"{decoding}: {_rate(rate)}" for decoding, rate in of["decode"].items()),
            ]
        )
    headers = [
        "System",
        "M parameters",
        "precision",
        "steps/s",
        "images/s",
        "MFU",
        "held MiB",
        "peak MiB",
        "decoding, images/s",
    ]
    lines = [f"- encoder: {_rate(facts['encoder_cost']['images_per_s'])} images/s"]
    if "reward_cost" in facts:
        lines.append(
            f"- reward: {_rate(facts['reward_cost']['images_per_s'])} images/s ({facts['reward_cost']['what']})"
        )
    return [told, markdown(headers, rows, 1), "\n".join(lines)]


def _whole(config: Config, records: dict[str, dict]) -> str:
    """Hours of each part on one device of each kind. Operations are known where nobody measured, too."""
    parts = {kind: _parts(config, record["facts"]) for kind, record in records.items()}
    rows = []
    for alike in zip(*parts.values(), strict=True):
        hours = {kind: part.seconds / 3600 for kind, part in zip(parts, alike, strict=True)}
        work = "-" if alike[0].flops is None else f"{alike[0].flops / 1e15:,.1f}"
        rows.append(
            [alike[0].name, alike[0].often, work, *(_hours(hours.get(kind)) for kind in KINDS)]
        )
    work = sum(part.flops or 0 for part in next(iter(parts.values()))) / 1e15
    totals = {kind: sum(part.seconds for part in of) / 3600 for kind, of in parts.items()}
    rows.append(["**together**", "", f"{work:,.1f}", *(_hours(totals.get(kind)) for kind in KINDS)])
    return "\n\n".join(
        [
            markdown(
                ["Part", "how often", "PFLOP", *(f"{name} hours" for name in KINDS.values())],
                rows,
                2,
            ),
            f"Hours are of one device and one seed of each row ({len(config.seeds)} configured), by the rates above; scoring and "
            "downloads are not in them. Steps and pictures of another size than the measured one are taken to cost in proportion to "
            "images and pixels. Operations of decoding are not counted. At the goal of "
            f"{100 * _GOAL:.0f} % MFU the operations counted take {work / _GOAL / 3600:,.1f} hours of a device whose peak is 1 PFLOP/s: "
            "that is arithmetic, no measurement.",
        ]
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _hours(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f}" if value >= 0.1 else f"{value:.2g}"


@dataclass(frozen=True)
class _Part:
    name: str
    often: str
    seconds: float
    flops: float | None


def _parts(config: Config, facts: dict) -> list[_Part]:
    """All that is to be done, once a row, at the rates of `facts`."""
    dataset, encoder = config.dataset, facts["encoder_cost"]
    counts = (
        {split: getattr(dataset, split) for split in ("train", "val", "test")}
        if isinstance(dataset, Scenes)
        else dataset.expected
    )
    images = sum(counts.values())
    parts = [
        _Part(
            "features",
            f"{images:,} images",
            images / encoder["images_per_s"],
            images * encoder["flops_an_image"],
        )
    ]
    for name, system in config.systems.items():
        training, label = config.training_of(name), system.label or name
        step, rates = facts["systems"][name]["step"], facts["systems"][name]["decode"]
        seen = training.steps * training.batch_size
        steps = seen / step["images"]  # as large as the one that was measured
        verb, often = (
            "tuning" if system.tuned_from else "training",
            f"{training.steps:,} steps of {training.batch_size}",
        )
        parts.append(
            _Part(f"{label}: {verb}", often, steps * step["seconds"], steps * step["flops"])
        )
        if system.tuning and system.tuning.reconstructs:
            painted, reward, often, pixels = (
                seen * system.tuning.samples,
                facts["reward_cost"],
                "",
                1.0,
            )
            if config.generator.name:
                often, pixels = (
                    f" of {config.generator.size} px",
                    (config.generator.size / facts["size"]["picture"]) ** 2,
                )
            seconds, flops = (
                painted * pixels / reward["images_per_s"],
                painted * pixels * reward["flops_an_image"],
            )
            parts.append(_Part(f"{label}: reward", f"{painted:,} pictures{often}", seconds, flops))
        validated = training.evaluations * min(training.validation_images, counts["val"])
        decoding = captioner_class(config.trained(name).captioner).Decoding
        samples = {
            said: config.decoding.samples if decoding(**how).random else 1
            for said, how in system.decodings.items()
        }
        seconds = validated / rates[next(iter(samples))] + sum(
            counts["test"] * each / rates[said] for said, each in samples.items()
        )
        often = f"{validated + counts['test'] * sum(samples.values()):,} captions"
        parts.append(_Part(f"{label}: validation and captions", often, seconds, None))
    return parts
