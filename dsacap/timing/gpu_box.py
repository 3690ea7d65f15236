"""All measurements that a machine with a GPU is needed for, by one command within a few minutes.

Weights and features are random, of the configured shapes. Every part is measured in a process of
its own, is given a share of the time that is left, and is kept when it is finished: the command can
be killed at any moment, and called again for what is missing. Packages that a part needs and that
are not installed make that part "not measured" and nothing else.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.common.machine import device_of, machine
from dsacap.common.progress import progress
from dsacap.config.experiment import Config, parse_config
from dsacap.config.parsing import decoding_of
from dsacap.runs.manifest import commit
from dsacap.timing.bounded import NOT_MEASURED, bounded
from dsacap.timing.clock import repeated
from dsacap.timing.full_size import Size, encoder_cost, peak_of, reward_cost, system_cost
from dsacap.timing.published_peaks import published_peak
from dsacap.timing.workload import captioner_name, untrained

_SHORTEST, _LONGEST = 0.2, 5.0  # seconds of one timing
_START = 5  # seconds in which a process has not even loaded torch
_FAIR_SHARES = 5  # of the time that is left, which one part may take
_WARMUP, _CALLS = 5, 100


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Attributes:
        name: Its name in the file of finished parts.
        function: Measures it; it is given the settings, `arguments` and the seconds of a timing.
        arguments: Its other arguments.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple = ()


def measure_gpu(
    config: Config,
    spec: ImageSpec,
    size: Size,
    batch_sizes: Sequence[int],
    minutes: float,
    finished: Path,
) -> dict[str, dict]:
    """Measure whatever is not in the file of finished parts, as far as time suffices.

    Args:
        config: The configuration.
        spec: The shapes of a captioner's input and output.
        size: The amount of work of training steps, encoder and generator.
        batch_sizes: Images that are decoded at a time.
        minutes: The time that it may take.
        finished: The file where finished parts are kept.

    Returns:
        For each part `{"measured": ...}`, or the reason why it was not measured.

    Raises:
        UserError: The file is of another configuration, size, machine or commit.
    """
    end = time.monotonic() + 60 * minutes
    settings = config.model_dump(mode="json", exclude_unset=True)
    device = device_of(config.device)
    about = {
        "config": config.model_dump(mode="json"),
        "spec": dataclasses.asdict(spec) | {"words": []},
        "size": dataclasses.asdict(size),
        "device": machine(device)["device"],
        "code": commit(),
    }
    kept = read_json(finished) if finished.exists() else about | {"parts": {}}
    if {name: kept.get(name) for name in about} != about:
        raise UserError(
            f"{finished}: was measured on another machine, with other sizes or by other code;"
            " delete it, or choose another folder (--output)"
        )
    parts: dict[str, dict] = kept["parts"]
    wanted = parts_of(config, spec, size, batch_sizes)
    missing = [part for part in wanted if part.name not in parts]
    found = dict(parts)
    for number, part in enumerate(progress(missing, "measure", "part")):
        left = end - time.monotonic()
        share = left / (len(missing) - number)
        if left < _START:
            found[part.name] = {NOT_MEASURED: "no time was left; run the same command again"}
            continue
        seconds = min(max(share / 10, _SHORTEST), _LONGEST)
        arguments = (settings, *part.arguments, seconds)
        found[part.name] = bounded(part.function, arguments, min(left, _FAIR_SHARES * share))
        if "measured" in found[part.name]:
            parts[part.name] = found[part.name]
            write_json(finished, kept)
    return {part.name: found[part.name] for part in wanted}


def parts_of(config: Config, spec: ImageSpec, size: Size, batch_sizes: Sequence[int]) -> list[Part]:
    """Return all parts, those that matter most first."""
    untuned = [name for name, system in config.systems.items() if not system.tuned_from]
    smallest, *larger = sorted(batch_sizes)

    def latency(compiled: bool, images: int) -> list[Part]:
        how = "compiled" if compiled else "eager"
        return [
            Part(
                f"latency {name}, {decoding}, {how}, batch {images}",
                latency_of,
                (name, decoding, spec, compiled, images),
            )
            for name in untuned
            for decoding in _timed_decodings(config, name)
        ]

    beside = [
        Part(
            f"generate() beside {name}, {how}, batch {smallest}",
            beside_transformers,
            (name, greedy, spec, how == "compiled", smallest),
        )
        for name in untuned
        if (greedy := _greedy(config, name))
        for how in ("eager", "compiled")
    ]
    return [
        Part("peak", device_peak),
        *latency(False, smallest),
        *(Part(f"training {name}", _system_cost, (name, spec, size)) for name in config.systems),
        *latency(True, smallest),
        *beside,
        *(part for images in larger for part in latency(False, images)),
        Part("encoder", _encoder_cost, (size,)),
        *([Part("reward", _reward_cost, (size,))] if config.generator else []),
        *(part for images in larger for part in latency(True, images)),
    ]


def _timed_decodings(config: Config, system: str) -> list[str]:
    """Return a system's first decoding; of AR the greedy one too, to compare others with."""
    first = next(iter(config.systems[system].decodings))
    return list(dict.fromkeys([first, _greedy(config, system) or first]))


def _greedy(config: Config, system: str) -> str | None:
    """Return an autoregressive system's greedy decoding; None if it has none."""
    if captioner_name(config, system) != "autoregressive":
        return None
    captioner = captioner_class("autoregressive")
    decodings = config.systems[system].decodings.items()
    greedy = captioner.Decoding()
    return next((n for n, how in decodings if decoding_of(captioner, how, n) == greedy), None)


def device_peak(settings: dict, seconds: float) -> dict:
    """Describe the machine, and measure the peak of its device; see `peak_of`."""
    device = _device(settings)
    return {"machine": machine(device), "peak": peak_of(device)}


def latency_of(
    settings: dict,
    system: str,
    decoding: str,
    spec: ImageSpec,
    compiled: bool,
    images: int,
    seconds: float,
) -> dict:
    """Time a decoding of a system with random weights, all captions at full length.

    Args:
        settings: The configuration as plain data.
        system: The system.
        decoding: The name of the decoding.
        spec: The shapes of its input and output.
        compiled: Whether to decode through torch.compile, on a GPU with CUDA graphs.
        images: Images of a batch.
        seconds: No call begins after this time.

    Returns:
        A benchmark as `report-latency` reads it: the state, the cost and the seconds of each call.
    """
    config = parse_config(settings, "configuration")
    torch.set_num_threads(config.threads)
    subject = untrained(config, system, spec)
    cost = {} if compiled else subject.cost(decoding, images)
    if compiled:
        subject.compile()
    times = repeated(
        lambda: subject.prepare("decode", decoding, images),
        subject.device,
        _WARMUP,
        _CALLS,
        seconds,
    )
    state = {"system": system, "decoding": decoding, "length": spec.max_words, "stage": "decode"}
    state |= {"images": images, "compiled": compiled, "precision": subject.precision}
    return _benchmark(state | {"machine": machine(subject.device)} | cost, times)


def beside_transformers(
    settings: dict,
    system: str,
    greedy: str,
    spec: ImageSpec,
    compiled: bool,
    images: int,
    seconds: float,
) -> list[dict]:
    """Time an autoregressive system and transformers' `generate()` on a network of its size.

    Args:
        settings: The configuration as plain data.
        system: The system.
        greedy: The name of its greedy decoding; `generate()` is greedy too.
        spec: The shapes of its input and output.
        compiled: Whether both are compiled, with static caches and on a GPU with CUDA graphs.
        images: Images of a batch.
        seconds: No call of either begins after this time.

    Returns:
        Two benchmarks as `report-latency` reads them.
    """
    from dsacap.timing.outside import bart_of_size

    config = parse_config(settings, "configuration")
    torch.set_num_threads(config.threads)
    subject = untrained(config, system, spec)
    if compiled:
        subject.compile()
    ours = subject.prepare("decode", greedy, images)
    parameters = sum(p.numel() for p in subject.captioner.parameters()) if subject.captioner else 0
    model = config.systems[system].model
    theirs = bart_of_size(model, spec, images, compiled, subject.device)
    found = []
    for whose, call, count in (("ours", ours, parameters), ("transformers", *theirs)):
        times = repeated(itertools.repeat(call).__next__, subject.device, _WARMUP, _CALLS, seconds)
        info = {"whose": whose, "images": images, "compiled": compiled, "words": spec.max_words}
        found.append(_benchmark(info | {"parameters": count}, times))
    return found


def latency_report(found: dict[str, dict], code: dict) -> dict:
    """Return the latencies as a report that `report-latency` reads.

    Args:
        found: What `measure_gpu` returned.
        code: The commit, as `manifest.commit` describes it.
    """
    measured = [
        of["measured"]
        for name, of in found.items()
        if name.startswith(("latency", "generate()")) and "measured" in of
    ]
    return {
        "datetime": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit_info": {"id": code["commit"], "dirty": code["dirty"]},
        "benchmarks": [
            benchmark for of in measured for benchmark in (of if isinstance(of, list) else [of])
        ],
        NOT_MEASURED: _reasons(found),
    }


def scale_facts(config: Config, spec: ImageSpec, size: Size, found: dict[str, dict]) -> dict:
    """Return what `measure_scale` does, for `measure-scale` to read.

    Args:
        config: The configuration.
        spec: The shapes of a captioner's input and output.
        size: The amount of work per measurement.
        found: What `measure_gpu` returned.

    Returns:
        The facts, without the parts that were not measured, whose reasons are added.

    Raises:
        UserError: Not even the peak of the device was measured.
    """
    if "measured" not in found["peak"]:
        raise UserError(
            f"measure-gpu: the peak of the device was not measured: {found['peak'][NOT_MEASURED]};"
            " run the command again, with more --minutes; finished parts are kept"
        )
    device = found["peak"]["measured"]
    costs = {name: of["measured"] for name, of in found.items() if "measured" in of}
    systems = {
        name: costs[f"training {name}"] for name in config.systems if f"training {name}" in costs
    }
    known = {
        key: costs[name]
        for key, name in (("encoder_cost", "encoder"), ("reward_cost", "reward"))
        if name in costs
    }
    known.setdefault("encoder_cost", {"tokens": spec.tokens, "channels": spec.channels})
    return {
        **device,
        "kind": device_of(config.device).type,
        "published_peak": published_peak(device["machine"]["device"]),
        "size": dataclasses.asdict(size),
        **known,
        "systems": systems,
        NOT_MEASURED: _reasons(found),
    }


def _reasons(found: dict[str, dict]) -> dict[str, str]:
    return {name: of[NOT_MEASURED] for name, of in found.items() if NOT_MEASURED in of}


def _benchmark(info: dict, times: list[float]) -> dict:
    return {"extra_info": info, "stats": {"data": times}}


def _device(settings: dict) -> torch.device:
    return device_of(parse_config(settings, "configuration").device)


def _system_cost(settings: dict, system: str, spec: ImageSpec, size: Size, seconds: float) -> dict:
    return system_cost(settings, system, spec, dataclasses.replace(size, seconds=seconds))


def _encoder_cost(settings: dict, size: Size, seconds: float) -> dict:
    return encoder_cost(settings, dataclasses.replace(size, seconds=seconds))


def _reward_cost(settings: dict, size: Size, seconds: float) -> dict:
    return reward_cost(settings, dataclasses.replace(size, seconds=seconds))
