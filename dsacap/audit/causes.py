"""What differs between two manifests of the same stage, by kind: why two tables may disagree.

Only differences that can reach the numbers are causes: configuration keys that the stage depends
on, files that its code imports, versions that both sides pin.
"""

import dataclasses
import json
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any

from dsacap.audit.cause import ABSENT, UNCHANGED, Cause
from dsacap.audit.chain import parts_of, settings_of
from dsacap.audit.code_changes import files_changed
from dsacap.audit.environment import hardware_causes, version_causes
from dsacap.audit.stage_code import files_of_stage
from dsacap.audit.text import listed, short
from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.common.git_checkout import stage_versions
from dsacap.config.experiment import parse_config


def outputs_of(manifest: dict[str, Any]) -> dict[str, str] | None:
    """Return file name -> SHA-256 of what a stage wrote, or None if its manifest has no hashes.

    Manifests written before outputs were recorded have the hashes of some files in their facts, or
    none at all.
    """
    facts = manifest.get("facts", {})
    found = {
        name.rsplit("/", 1)[-1]: digest for name, digest in (manifest.get("outputs") or {}).items()
    }
    found |= facts.get("sha256") if isinstance(facts.get("sha256"), dict) else {}
    if weights := facts.get("weights"):
        digest = weights.get("sha256") or weights["tensors_sha256"]
        found[weights.get("file", "weights")] = digest
    found |= {
        shard["file"]: shard["sha256"]
        for shard in chain(facts.get("shards", ()), *facts.get("views", ()))
    }
    return found or None


def wrote_the_same(old: dict, new: dict) -> bool:
    """Return whether a stage is known to have written the same files on both sides.

    If it did, nothing upstream of it can explain a difference. Weights that were trained before
    their hashes were recorded count as equal if their validation score is the same to the last
    digit, at the same step.
    """
    a, b = outputs_of(old) or {}, outputs_of(new) or {}
    shared = set(a) & set(b)
    if shared:
        return all(a[name] == b[name] for name in shared)
    scores = [
        (side["facts"].get("val_CIDEr"), side["facts"].get("best_step")) for side in (old, new)
    ]
    return bool(scores[0][0]) and scores[0] == scores[1]


def causes_of(
    stage: str, old: dict, new: dict, decoding: str, *, timed: bool = False
) -> Iterator[Cause]:
    """Yield the causes that can make two runs of a stage differ.

    Args:
        stage: The stage's name in a table's manifests, such as "train ar seed 0".
        old: The manifest of the one run.
        new: The manifest of the other run.
        decoding: The decoding of the cell in question, whose settings count for captions.
        timed: Whether the stage's numbers are times. These depend on the state of the machine too.
    """
    yield from _setting_causes(stage, old["config"], new["config"], decoding)
    yield from _data_causes(old, new)
    captioner = captioner_of(new["config"], stage)
    verb = new.get("stage", parts_of(stage)[0])
    yield from _code_causes(old, new, verb, tuple(files_of_stage(verb, captioner)))
    yield from version_causes(old, new)
    yield from hardware_causes(old, new, timed)


def captioner_of(config: dict, stage: str) -> str | None:
    """Return the captioner whose code a stage runs, or None if it runs none."""
    if parts_of(stage)[0] not in ("teach", "train", "caption", "time"):
        return None
    systems, system = config.get("systems", {}), parts_of(stage)[1]
    settings = systems.get(system) or {}
    return systems.get(settings.get("tuned_from"), settings).get("captioner")


def _setting_causes(stage: str, old: dict, new: dict, decoding: str) -> Iterator[Cause]:
    yield from changed_settings(
        settings_of(old, stage, decoding),
        settings_of(new, stage, decoding),
        non_default_keys(old),
        non_default_keys(new),
    )


def changed_settings(
    old: dict[str, Any],
    new: dict[str, Any],
    non_default_old: set[str] | None,
    non_default_new: set[str] | None,
) -> Iterator[Cause]:
    """Yield a cause for every configuration key whose values differ.

    A key that only one side has, because the other side's code did not know it yet, counts only if
    it is not at its default.

    Args:
        old: Dotted key -> value of the old side.
        new: Dotted key -> value of the new side.
        non_default_old: The old side's keys that are not at their defaults; None if unknown.
        non_default_new: The same for the new side.
    """
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        non_default = non_default_new if key not in old else non_default_old
        in_one = key not in old or key not in new
        by_default = in_one and non_default is not None and key not in non_default
        if a != b and not by_default:
            is_seed = key.rsplit(".", 1)[-1] in ("seed", "seeds") or key == "seed of the run"
            yield Cause(
                "seed" if is_seed else "configuration",
                key,
                *(ABSENT if value is None else _plain(value) for value in (a, b)),
            )


def non_default_keys(config: dict) -> set[str] | None:
    """Return the dotted keys of a configuration that are not at their defaults.

    Args:
        config: A configuration as plain data, as manifests hold it.

    Returns:
        The keys, or None if this version of the code cannot parse the configuration.
    """
    return _non_default_keys(json.dumps(config, sort_keys=True))


@cache
def _non_default_keys(text: str) -> set[str] | None:
    try:
        config = parse_config(json.loads(text), "")
    except UserError:
        return None
    keys = set(_dotted(config.model_dump(mode="json", exclude_defaults=True), ""))
    for name, system in config.systems.items():
        captioner_name = config.trained(name).captioner
        assert captioner_name is not None  # System's validator: it trains, or is tuned from one
        captioner = captioner_class(captioner_name)
        keys -= _defaults(captioner.Model, f"systems.{name}.model", system.model)
        for decoding, options in system.decodings.items():
            keys -= _defaults(captioner.Decoding, f"systems.{name}.decodings.{decoding}", options)
    return keys


def _defaults(settings: type, where: str, options: dict[str, Any]) -> set[str]:
    """Return the dotted keys of those options of a captioner that equal its defaults."""
    return {
        f"{where}.{f.name}"
        for f in dataclasses.fields(settings)
        if f.name in options and options[f.name] == f.default
    }


def _dotted(value: dict, prefix: str) -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _dotted(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _data_causes(old: dict, new: dict) -> Iterator[Cause]:
    """Yield differences in the data that a run is given.

    These are prepared captions and photos, a file of predictions, pretrained weights, and which
    photos could not be used.
    """
    facts, others = old["facts"], new["facts"]
    for key in ("sha256", "weights"):
        a, b = facts.get(key), others.get(key)
        # Weights that the run trained itself are an effect, not a cause.
        if a is None or b is None or (key == "weights" and "name" not in others):
            continue
        a, b = (value if isinstance(value, dict) else {"predictions": value} for value in (a, b))
        for name in sorted(set(a) & set(b)):
            if a[name] != b[name]:
                yield Cause("data", name, a[name][:12], b[name][:12])
    if "skipped" in facts and set(facts["skipped"]) != set(others.get("skipped", ())):
        yield Cause(
            "data",
            "skipped photos",
            str(len(facts["skipped"])),
            str(len(others.get("skipped", ()))),
        )
    if facts.get("images") != others.get("images"):
        yield Cause("data", "images", _plain(facts.get("images")), _plain(others.get("images")))


def _code_causes(old: dict, new: dict, verb: str, files: tuple[str, ...]) -> Iterator[Cause]:
    commits, dirty = (
        [side["code"]["commit"] for side in (old, new)],
        [side["code"]["dirty"] for side in (old, new)],
    )
    if commits[0] != commits[1]:
        changed = _changed(*commits, files)
        if changed is None:
            yield Cause(
                "code",
                "commit (not in this checkout, so its changes are unknown)",
                *map(short, commits),
            )
        elif changed:
            yield Cause(
                "code", f"{listed(changed)} ({_declared(old, new, verb)})", *map(short, commits)
            )
    differently = old["code"].get("changes") != new["code"].get("changes") or not old["code"].get(
        "changes"
    )
    if any(dirty) and (commits[0] != commits[1] or differently):
        yield Cause("code", "uncommitted changes", *("yes" if side else "no" for side in dirty))


def _declared(old: dict, new: dict, verb: str) -> str:
    """Return whether the stage's version in layout.VERSIONS announces a change of its result."""
    a, b = (declared_version(side, verb) for side in (old, new))
    if a is None or b is None:
        return "unknown whether meant to change the result"
    return UNCHANGED if a == b else f"meant to change the result: stage version {a} -> {b}"


def declared_version(manifest: dict, verb: str) -> int | None:
    """Return the version of a stage's code at the time it ran, or None if it is unknown.

    Args:
        manifest: The stage's manifest. Old ones have no version; git then has that of the commit.
        verb: The stage's verb, a key of `layout.VERSIONS`.
    """
    return manifest.get("version") or (_versions(manifest["code"]["commit"]) or {}).get(verb)


@cache
def _versions(commit: str | None) -> dict[str, int] | None:
    return stage_versions(commit) if commit else None


@cache
def _changed(old: str | None, new: str | None, files: tuple[str, ...]) -> list[str] | None:
    return files_changed(old, new, files) if old and new else None
