"""The stages behind a cell of a table, and the configuration keys that a stage depends on.

A stage is identified by its name in a table's manifests: "data", "train ar seed 0", "score human".
Everything here works on plain data, so that tables made by older code can be read too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dsacap.reporting.table_file import Table

TRAINING = ("parameters", "images_seen", "train_cpu_seconds", "val_CIDEr", "val_still_rising")
_TIMED = ("latency_", "memory_")
_ENCODER = ("train", "autoencoder", "features", "name", "pretrained", "sha256", "beside")
# Stages that compute with torch, so that `arithmetic` reaches what they write.
_COMPUTED = ("encoder", "features", "generator", "train", "teach", "caption")
_STAGE = re.compile(r"(?P<verb>[a-z]+)(?: (?P<system>.+?))?(?: seed (?P<seed>\d+))?")


def is_measured(metric: str) -> bool:
    """Return whether a metric was measured on a machine (time, memory) and so never repeats."""
    return metric.startswith(_TIMED) or metric.endswith("_seconds")


def is_quality(metric: str) -> bool:
    """Return whether a metric depends on the captions alone.

    Such a metric was neither measured on a machine nor recorded during training.
    """
    return not is_measured(metric) and metric not in TRAINING


def parts_of(stage: str) -> tuple[str, str | None, int | None]:
    """Split the name of a stage into verb, system and seed.

    Args:
        stage: A name such as "data", "score human" or "train ar seed 0".

    Returns:
        The verb, the system and the seed; system and seed are None if the name has none.

    Raises:
        ValueError: The name is not that of a stage.
    """
    match = _STAGE.fullmatch(stage)
    if match is None:
        raise ValueError(f"{stage!r} is not the name of a stage")
    return match["verb"], match["system"], None if match["seed"] is None else int(match["seed"])


def chain(table: Table, system: str, decoding: str, metric: str) -> list[str]:
    """Return the names of the stages that a cell was made by, beginning with the data.

    Args:
        table: A table. Without manifests the result is empty.
        system: The key of the cell's system.
        decoding: The name of the cell's decoding.
        metric: The cell's metric.

    Returns:
        The stages in the order in which they depend on each other. If the cell is a mean over
        seeds, those of all seeds.
    """
    config = table.config
    if not table.manifests:
        return []
    if system == "human":
        return ["data", "score human"]
    if system in config.get("predictions", {}):
        row = config["predictions"][system]
        return [
            "data",
            *([f"checkpoint {system}"] if row.get("checkpoint") else []),
            f"score {system}",
        ]
    shared = ["data", "encoder", "features"]
    if metric.startswith(_TIMED):  # measured with the first seed's weights
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
        rewards = (settings["tuning"] or {}).get("rewards") or {}
        if rewards.get("reconstruction") or rewards.get("contrast"):
            yield "generator"
    if _fine_tunes(config, settings):
        yield "pixels"
    if teacher := settings.get("distilled_from"):
        yield from _trained(config, teacher["system"], seed)
        yield f"teach {system} seed {seed}"
    yield f"train {system} seed {seed}"


def _fine_tunes(config: dict, settings: dict) -> bool:
    """Return whether a system trains the encoder too."""
    training = settings.get("tuning") or {
        **config.get("training", {}),
        **(settings.get("training") or {}),
    }
    return bool(training.get("fine_tune"))


def settings_of(config: dict, stage: str, decoding: str) -> dict[str, Any]:
    """Return the configuration keys that decide what a stage writes.

    They are the keys that `dsacap/runs/layout.py` hashes into the name of the stage's folder.

    Args:
        config: A configuration as plain data.
        stage: The stage's name in a table's manifests.
        decoding: The decoding of the cell in question. For captions only its settings count.

    Returns:
        Dotted key -> value, without the keys whose value is null.
    """
    verb, system, seed = parts_of(stage)
    settings = config.get("systems", {}).get(system) or {}
    decodings = settings.get("decodings", {})
    prefix = f"systems.{system}"
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
                f"{prefix}.{key}": settings.get(key) for key in ("tuned_from", "tuning")
            } | _first(prefix, decodings)
        case "train":
            own = settings.get("training", {})
            common = {
                key: value for key, value in config.get("training", {}).items() if key not in own
            }
            chosen = {
                f"{prefix}.{key}": settings.get(key)
                for key in ("captioner", "model", "distilled_from")
            }
            chosen |= (
                {f"{prefix}.training": own, "training": common}
                | _keys(config, "text", "max_words")
                | _first(prefix, decodings)
            )
        case "teach":
            teacher = settings["distilled_from"]
            of_teacher = config["systems"][teacher["system"]]["decodings"][teacher["decoding"]]
            chosen = {
                f"systems.{teacher['system']}.decodings.{teacher['decoding']}": of_teacher
            } | _keys(config, "decoding")
        case "caption":
            chosen = {f"{prefix}.decodings.{decoding}": decodings.get(decoding)} | _keys(
                config, "decoding"
            )
        case "checkpoint":
            chosen = {
                f"predictions.{system}.checkpoint": config["predictions"][system]["checkpoint"]
            }
        case "score":
            row = config.get("predictions", {}).get(system) or {}
            chosen = _keys(config, "scoring") | {f"predictions.{system}.file": row.get("file")}
        case "time":
            chosen = _keys(config, "timing") | _keys(config, "threads") | _keys(config, "device")
    if verb == "train":
        chosen["seed of the run"] = seed
    if verb in _COMPUTED:
        chosen |= _keys(config, "arithmetic")
    # `accumulate` changes no result.
    return {key: value for key, value in _flat(chosen.items()) if not key.endswith(".accumulate")}


def _keys(config: dict, section: str, *keys: str) -> dict[str, Any]:
    """Return a section, or some of its keys; keys that older code did not know are null."""
    values = config.get(section)
    return (
        {f"{section}.{key}": (values or {}).get(key) for key in keys} if keys else {section: values}
    )


def _first(prefix: str, decodings: Mapping[str, dict]) -> dict[str, dict]:
    """Return the first decoding, by which validation chooses the weights."""
    return {f"{prefix}.decodings.{name}": options for name, options in list(decodings.items())[:1]}


def _flat(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for key, value in items:
        if isinstance(value, dict):
            yield from _flat((f"{key}.{inner}", nested) for inner, nested in value.items())
        elif value is not None:
            yield key, value
