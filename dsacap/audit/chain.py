"""From a cell to the stages that made it, and from a stage to the keys of the configuration that it obeys.

A stage is known by its name in a table's manifests: "data", "train ar seed 0", "score human". Works on plain data, so that tables made by
older code can be asked too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dsacap.reporting.table_file import Table

TRAINING = ("parameters", "images_seen", "train_cpu_seconds", "val_CIDEr", "val_still_rising")
_TIMED = ("latency_", "memory_")
_ENCODER = ("train", "name", "pretrained", "sha256", "beside")
_COMPUTED = (
    "encoder",
    "features",
    "generator",
    "train",
    "teach",
    "caption",
)  # by torch, whose arithmetic is a setting
_STAGE = re.compile(r"(?P<verb>[a-z]+)(?: (?P<system>.+?))?(?: seed (?P<seed>\d+))?")


def is_measured(metric: str) -> bool:
    """Whether a metric was measured on a machine, as time and memory are: another run never gives the same."""
    return metric.startswith(_TIMED) or metric.endswith("_seconds")


def is_quality(metric: str) -> bool:
    """Whether captions alone decide a metric: it was neither measured on a machine nor recorded in training."""
    return not is_measured(metric) and metric not in TRAINING


def parts_of(stage: str) -> tuple[str, str | None, int | None]:
    """(verb, system, seed) of a stage's name."""
    found = _STAGE.fullmatch(stage)
    return found["verb"], found["system"], None if found["seed"] is None else int(found["seed"])


def chain(table: Table, system: str, decoding: str, metric: str) -> list[str]:
    """The stages behind a cell, from the data on; of all seeds, where it is a mean over them. None, where no manifest lies beside."""
    config = table.config
    if not table.manifests:
        return []
    if system == "human":
        return ["data", "score human"]
    if system in config.get("predictions", {}):
        brought = config["predictions"][system]
        return [
            "data",
            *([f"checkpoint {system}"] if brought.get("checkpoint") else []),
            f"score {system}",
        ]
    shared = ["data", "encoder", "features"]
    if metric.startswith(_TIMED):  # of the first seed's weights
        trained = [] if system == "encoder" else _trained(config, system, config["seeds"][0])
        return list(dict.fromkeys([*shared, *trained, "time"]))
    stages = list(shared)
    for seed in sorted(table.rows(system, decoding, metric).seed.dropna()):
        stages += _trained(config, system, seed)
        if metric not in TRAINING:
            stages += [f"caption {system} seed {seed}", f"score {system} seed {seed}"]
    return list(dict.fromkeys(stages))


def _trained(config: dict, system: str, seed: int) -> Iterator[str]:
    settings = config["systems"][system]
    if source := settings.get("tuned_from"):
        yield from _trained(config, source, seed)
        if ((settings["tuning"] or {}).get("rewards") or {}).get("reconstruction"):
            yield "generator"
    if _fine_tunes(config, settings):
        yield "pixels"
    if teacher := settings.get("distilled_from"):
        yield from _trained(config, teacher["system"], seed)
        yield f"teach {system} seed {seed}"
    yield f"train {system} seed {seed}"


def _fine_tunes(config: dict, settings: dict) -> bool:
    """Whether a row trains the encoder too."""
    training = settings.get("tuning") or {
        **config.get("training", {}),
        **(settings.get("training") or {}),
    }
    return bool(training.get("fine_tune"))


def settings_of(config: dict, stage: str, decoding: str) -> dict[str, Any]:
    """The keys that decide what a stage writes (those of layout.py's hashes), dotted, with their values; nulls left out. Of captions,
    those of the cell's own decoding."""
    verb, system, seed = parts_of(stage)
    settings = config.get("systems", {}).get(system) or {}
    decodings = settings.get("decodings", {})
    of_row = f"systems.{system}"
    match verb:
        case "data":
            chosen = _keys(config, "dataset") | _keys(config, "text", "min_count")
        case "encoder":
            chosen = _keys(config, "encoder", *_ENCODER)
        case "features":
            chosen = _keys(
                config,
                "encoder",
                *(key for key in config.get("encoder", {}) if key not in (*_ENCODER, "batch_size")),
            )
        case "pixels":
            chosen = _keys(config, "encoder", "shard_size", "on_bad_image")
        case "generator":
            chosen = _keys(config, "generator") | _keys(config, "text", "max_words")
        case "train" if settings.get("tuned_from"):
            chosen = {
                f"{of_row}.{key}": settings.get(key) for key in ("tuned_from", "tuning")
            } | _first(of_row, decodings)
        case "train":
            own = settings.get("training", {})
            common = {
                key: value for key, value in config.get("training", {}).items() if key not in own
            }
            chosen = {
                f"{of_row}.{key}": settings.get(key)
                for key in ("captioner", "model", "distilled_from")
            }
            chosen |= (
                {f"{of_row}.training": own, "training": common}
                | _keys(config, "text", "max_words")
                | _first(of_row, decodings)
            )
        case "teach":
            teacher = settings["distilled_from"]
            of_teacher = config["systems"][teacher["system"]]["decodings"][teacher["decoding"]]
            chosen = {
                f"systems.{teacher['system']}.decodings.{teacher['decoding']}": of_teacher
            } | _keys(config, "decoding")
        case "caption":
            chosen = {f"{of_row}.decodings.{decoding}": decodings.get(decoding)} | _keys(
                config, "decoding"
            )
        case "checkpoint":
            chosen = {
                f"predictions.{system}.checkpoint": config["predictions"][system]["checkpoint"]
            }
        case "score":
            brought = config.get("predictions", {}).get(system) or {}
            chosen = _keys(config, "scoring") | {f"predictions.{system}.file": brought.get("file")}
        case "time":
            chosen = _keys(config, "timing") | _keys(config, "threads") | _keys(config, "device")
    if verb == "train":
        chosen["seed of the run"] = seed
    if verb in _COMPUTED:
        chosen |= _keys(config, "arithmetic")
    return {
        key: value for key, value in _flat(chosen.items()) if not key.endswith(".accumulate")
    }  # which changes no result


def _keys(config: dict, section: str, *keys: str) -> dict[str, Any]:
    """A section, or some of its keys; what older code did not know is null."""
    found = config.get(section)
    return (
        {f"{section}.{key}": (found or {}).get(key) for key in keys} if keys else {section: found}
    )


def _first(of_row: str, decodings: Mapping[str, dict]) -> dict[str, dict]:
    """The first decoding chooses the weights on validation."""
    return {f"{of_row}.decodings.{name}": options for name, options in list(decodings.items())[:1]}


def _flat(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for key, value in items:
        if isinstance(value, dict):
            yield from _flat((f"{key}.{inner}", of) for inner, of in value.items())
        elif value is not None:
            yield key, value
