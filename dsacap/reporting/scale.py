"""scale.md: what a configuration costs at full size.

It is computed from what `dsacap measure-scale` measured on a CPU, a GPU, or both.
"""

from dataclasses import dataclass
from pathlib import Path

from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_text
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.config.parsing import decoding_of
from dsacap.config.sections import Tuning
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.rehearsal import rehearsal_section

KINDS = {"cuda": "GPU", "cpu": "CPU"}
_UNKNOWN = "not measured"
_GOAL = 0.4  # MFU
_METHOD = """\
Written by `dsacap measure-scale`. Weights and features are random, of the configured shapes, so
nothing was downloaded or trained for it; captions have the lengths of COCO's.

- **A step** is forward, backward, clipping and AdamW, with data from memory: the median of up to 10
  steps, after 3 to warm up.
- **MFU**: the operations per second that torch counts (products of matrices and attention, forward
  and backward), over the rate of a product of two large square matrices on the same device in the
  same precision.
- **Decoding** fills all {words} words of a caption, about twice as many as COCO's captions have.
- **Reward**: from captions to pictures to the encoder's features of them.
- **Memory**: held are weights, gradients and optimizer; the peak is that of a system's process, and
  on a GPU what torch allocated."""


def record_of(page: Path, kind: str) -> Path:
    """Return the path of the manifest of a measurement; `kind` is one of `KINDS`."""
    return page.with_name(f"{page.stem}-{kind}.json")


def check_page(config: Config, page: Path) -> None:
    """Raise UserError if `page` exists for another configuration, before anything is measured."""
    for record in (record_of(page, kind) for kind in KINDS):
        if record.exists() and (name := read_json(record)["config"]["name"]) != config.name:
            raise UserError(
                f"{record}: belongs to the configuration {name}; write another page (--output)"
            )


def write_scale(config: Config, page: Path) -> None:
    """Write `page` from the records next to it.

    Raises:
        UserError: There is no record, or one was measured with another configuration.
    """
    records = {
        kind: read_json(record_of(page, kind)) for kind in KINDS if record_of(page, kind).exists()
    }
    if not records:
        names = " nor ".join(str(record_of(page, kind)) for kind in KINDS)
        raise UserError(f"nothing is measured yet: there is neither {names}")
    for kind, record in records.items():
        if record["config"] != config.model_dump(mode="json"):
            raise UserError(
                f"{record_of(page, kind)}: was measured with another configuration; measure again"
                f" on a {KINDS[kind]}, delete the file, or write another page (--output)"
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
    parts += rehearsal_section(page)
    write_text(page, "\n\n".join(parts) + "\n")


def _caveat(kind: str, record: dict) -> str:
    """A caveat for a CPU that was busy with other work."""
    threads = record["facts"]["machine"]["threads"]
    if kind != "cpu" or record["cpu_seconds"] > 0.8 * record["seconds"] * threads:
        return ""
    return ": other work ran at the same time, so rates are too low, and hours too high, by as much"


def _measured(config: Config, kind: str, record: dict) -> list[str]:
    facts, code = record["facts"], record["code"]
    size, peak = facts["size"], facts["peak"]
    machine = ", ".join(
        f"{name} {value}" for name, value in facts["machine"].items() if value is not None
    )
    encoder, published = facts["encoder_cost"], facts.get("published_peak")
    summary = (
        f"{machine}. Peak of a product of matrices: {peak['fp32'] / 1e12:.3g} TFLOP/s fp32,"
        f" {peak['bf16'] / 1e12:.3g} TFLOP/s bf16; {_published(published)}. {size['batch_size']}"
        " images per step,"
        f" {size['images']} at once to encode and to decode, {size['pictures']} picture(s) of"
        f" {size['picture']} px, {size['vocabulary']:,} words, {encoder['tokens']} tokens of"
        f" {encoder['channels']} channels. Measured {record['started'][:19]} from commit"
        f" {code['commit']}{' with local changes' if code['dirty'] else ''} by"
        f" `{' '.join(record['command'])}`, {record['cpu_seconds']:,.0f} CPU-seconds in"
        f" {record['seconds']:,.0f} seconds{_caveat(kind, record)}."
    )
    rows = []
    for name in config.systems:
        if name not in facts["systems"]:
            rows.append([config.systems[name].label or name, *[_UNKNOWN] * 9])
            continue
        of = facts["systems"][name]
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
                f"{100 * flops / published[step['precision']]:.0f} %" if published else "n/a",
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
        "MFU, published peak",
        "held MiB",
        "peak MiB",
        "decoding, images/s",
    ]
    lines = [f"- encoder: {_images_per_second(encoder)}"]
    if config.generator:
        reward = facts.get("reward_cost", {})
        what = f" ({reward['what']})" if reward else ""
        lines.append(f"- reward: {_images_per_second(reward)}{what}")
    lines += [f"- {name}: {_UNKNOWN}: {why}" for name, why in facts.get("not_measured", {}).items()]
    return [summary, markdown(headers, rows, 1), "\n".join(lines)]


def _published(peak: dict | None) -> str:
    if peak is None:
        return "the published peak is not known"
    rates = ", ".join(f"{peak[name] / 1e12:.3g} TFLOP/s {name}" for name in ("fp32", "bf16"))
    return f"published ({peak['source']}): {rates}"


def _images_per_second(cost: dict) -> str:
    return f"{_rate(cost['images_per_s'])} images/s" if "images_per_s" in cost else _UNKNOWN


def _whole(config: Config, records: dict[str, dict]) -> str:
    """Hours of each part on one device of each kind.

    Operations are the same on every device, so one measurement is enough to know them.
    """
    parts = {kind: _parts(config, record["facts"]) for kind, record in records.items()}
    rows = []
    for same_part in zip(*parts.values(), strict=True):
        hours = {
            kind: None if part.seconds is None else part.seconds / 3600
            for kind, part in zip(parts, same_part, strict=True)
        }
        name, count = same_part[0].name, same_part[0].count
        flops = next((part.flops for part in same_part if part.flops is not None), None)
        pflop = "-" if flops is None else f"{flops / 1e15:,.1f}"
        rows.append([name, count, pflop, *(_hours(hours.get(kind)) for kind in KINDS)])
    work = max(sum(part.flops or 0 for part in of) for of in parts.values()) / 1e15
    totals = {kind: _total_hours(of) for kind, of in parts.items()}
    rows.append(["**together**", "", f"{work:,.1f}", *(_hours(totals.get(kind)) for kind in KINDS)])
    return "\n\n".join(
        [
            markdown(
                ["Part", "how often", "PFLOP", *(f"{name} hours" for name in KINDS.values())],
                rows,
                2,
            ),
            "Hours are those of one device and one seed of each row"
            f" ({len(config.seeds)} configured), at the rates above; scoring and downloads are not"
            " included. The cost of steps and pictures of another size than the measured one is"
            " taken to be proportional to images and pixels. Operations of decoding are not"
            f" counted. At the goal of {100 * _GOAL:.0f} % MFU, the operations counted take"
            f" {work / _GOAL / 3600:,.1f} hours on a device whose peak is 1 PFLOP/s; that is"
            " arithmetic, not a measurement.",
        ]
    )


def _total_hours(parts: "list[_Part]") -> float | None:
    seconds = [part.seconds for part in parts if part.seconds is not None]
    return sum(seconds) / 3600 if len(seconds) == len(parts) else None


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _hours(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f}" if value >= 0.1 else f"{value:.2g}"


@dataclass(frozen=True)
class _Part:
    """A part of the benchmark: its name, how often it is done, and its cost.

    Seconds are None if it was not measured; operations also if they are not counted.
    """

    name: str
    count: str
    seconds: float | None = None
    flops: float | None = None


def _parts(config: Config, facts: dict) -> list[_Part]:
    """All parts of the benchmark, with one seed of each row, at the rates of `facts`."""
    counts, encoder = _images(config), facts["encoder_cost"]
    images = sum(counts.values())
    parts = [_Part("features", f"{images:,} images", *_of_images(encoder, images))]
    for name, system in config.systems.items():
        training, label = config.training_of(name), system.label or name
        step, rates = (facts["systems"].get(name, {}).get(key) for key in ("step", "decode"))
        verb = "tuning" if system.tuned_from else "training"
        count = f"{training.steps:,} steps of {training.batch_size}"
        cost: tuple = ()
        if step:
            steps = training.steps * training.batch_size / step["images"]  # of the measured size
            cost = steps * step["seconds"], steps * step["flops"]
        parts.append(_Part(f"{label}: {verb}", count, *cost))
        if system.tuning and system.tuning.reconstructs:
            parts.append(_reward(config, facts, system.tuning, f"{label}: reward"))
        validated = training.evaluations * min(training.validation_images, counts["val"])
        samples = _samples(config, name)
        seconds = rates and validated / rates[next(iter(samples))] + sum(
            counts["test"] * each / rates[decoding] for decoding, each in samples.items()
        )
        count = f"{validated + counts['test'] * sum(samples.values()):,} captions"
        parts.append(_Part(f"{label}: validation and captions", count, seconds))
    return parts


def _images(config: Config) -> dict[str, int]:
    """The number of images of each split."""
    dataset = config.dataset
    if isinstance(dataset, Scenes):
        return {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    if dataset.expected is None:
        raise UserError(
            "measure-scale: dataset.expected is missing; set it to the number of images of each"
            " split, from which the total times are computed"
        )
    return dataset.expected


def _reward(config: Config, facts: dict, tuning: Tuning, name: str) -> _Part:
    """The reward for reconstruction, for every caption that is drawn while a row is tuned."""
    generator, cost = config.generator, facts.get("reward_cost", {})
    assert generator is not None  # the configuration asks for it where a reward reconstructs
    pictures = tuning.steps * tuning.batch_size * tuning.samples
    count, pixels = f"{pictures:,} pictures", 1.0
    if generator.name:
        count += f" of {generator.size} px"
        pixels = (generator.size / facts["size"]["picture"]) ** 2
    return _Part(name, count, *_of_images(cost, pictures * pixels))


def _of_images(cost: dict, images: float) -> tuple[float, float] | tuple[()]:
    """Return the seconds and operations of images; nothing if their cost was not measured."""
    if "images_per_s" not in cost:
        return ()
    return images / cost["images_per_s"], images * cost["flops_an_image"]


def _samples(config: Config, system: str) -> dict[str, int]:
    """The number of captions per image that each decoding of a system draws."""
    captioner = captioner_class(config.captioner_of(system))
    return {
        name: config.decoding.samples if decoding_of(captioner, options, name).random else 1
        for name, options in config.systems[system].decodings.items()
    }
