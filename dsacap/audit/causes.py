"""What differs between two manifests of the same stage, by kind: why two tables may not say the same.

Only what can reach the numbers is named: keys that the stage obeys, files that its code imports, versions that both sides pin.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from dsacap.audit.chain import parts_of, settings_of
from dsacap.audit.code_changes import files_changed
from dsacap.audit.stage_code import files_of_stage
from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.common.git_checkout import pins, stage_versions
from dsacap.config.experiment import parse_config

ABSENT = "absent"
_SHOWN = 4


@dataclass(frozen=True)
class Cause:
    """`kind` is configuration, seed, data, code, versions, hardware, signature or unknown."""

    kind: str
    what: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.what}: {self.old} -> {self.new}" if self.old or self.new else self.what


def outputs_of(manifest: dict[str, Any]) -> dict[str, str] | None:
    """File -> sha256 of what a stage wrote, as far as its manifest knows; those of before outputs were recorded know some, or nothing."""
    facts = manifest.get("facts", {})
    found = {
        name.rsplit("/", 1)[-1]: digest for name, digest in (manifest.get("outputs") or {}).items()
    }
    found |= facts.get("sha256") if isinstance(facts.get("sha256"), dict) else {}
    weights = facts.get("weights", {})
    found |= (
        {weights.get("file", "weights"): weights.get("sha256") or weights["tensors_sha256"]}
        if weights
        else {}
    )
    found |= {
        shard["file"]: shard["sha256"]
        for shard in chain(facts.get("shards", ()), *facts.get("views", ()))
    }
    return found or None


def wrote_the_same(old: dict, new: dict) -> bool:
    """Whether both sides know what the stage wrote, and it is the same: then nothing before it can be why they differ. Of weights that were
    trained before their hash was recorded, the same validation score to the last digit at the same step tells."""
    a, b = outputs_of(old), outputs_of(new)
    shared = set(a or ()) & set(b or ())
    if shared:
        return all(a[name] == b[name] for name in shared)
    scores = [
        (side["facts"].get("val_CIDEr"), side["facts"].get("best_step")) for side in (old, new)
    ]
    return bool(scores[0][0]) and scores[0] == scores[1]


def causes_of(
    stage: str, old: dict, new: dict, decoding: str, *, timed: bool = False
) -> Iterator[Cause]:
    """Between two runs of a stage; `timed` says that its numbers are times, which depend on the machine's state too."""
    yield from _of_settings(stage, old["config"], new["config"], decoding)
    yield from _of_data(old, new)
    captioner = captioner_of(new["config"], stage)
    verb = new.get("stage", parts_of(stage)[0])
    yield from _of_code(old, new, verb, tuple(files_of_stage(verb, captioner)))
    yield from of_versions(old, new)
    yield from _of_hardware(old, new, timed)


def captioner_of(config: dict, stage: str) -> str | None:
    """The captioner whose code a stage runs, if it runs any."""
    if parts_of(stage)[0] not in ("teach", "train", "caption", "time"):
        return None
    systems, system = config.get("systems", {}), parts_of(stage)[1]
    settings = systems.get(system) or {}
    return systems.get(settings.get("tuned_from"), settings).get("captioner")


def _of_settings(stage: str, old: dict, new: dict, decoding: str) -> Iterator[Cause]:
    yield from changed_settings(
        settings_of(old, stage, decoding),
        settings_of(new, stage, decoding),
        said_keys(old),
        said_keys(new),
    )


def changed_settings(
    old: dict[str, Any], new: dict[str, Any], said_old: set[str] | None, said_new: set[str] | None
) -> Iterator[Cause]:
    """Keys that differ. One that a side does not have, because its code did not know it, differs only where the other side's is no
    default (`said_*`: the keys that are not; None where that cannot be told)."""
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        said = said_new if key not in old else said_old
        by_default = (key not in old or key not in new) and said is not None and key not in said
        if a != b and not by_default:
            is_seed = key.rsplit(".", 1)[-1] in ("seed", "seeds") or key == "seed of the run"
            yield Cause(
                "seed" if is_seed else "configuration",
                key,
                *(ABSENT if value is None else _plain(value) for value in (a, b)),
            )


def said_keys(config: dict) -> set[str] | None:
    """Dotted keys of a configuration that are not defaults; None where this version does not understand it."""
    return _said(json.dumps(config, sort_keys=True))


@cache
def _said(text: str) -> set[str] | None:
    try:
        config = parse_config(json.loads(text), "")
    except UserError:
        return None
    said = set(_dotted(config.model_dump(mode="json", exclude_defaults=True), ""))
    for name, system in config.systems.items():
        captioner = captioner_class(config.trained(name).captioner)
        said -= _defaults(captioner.Model, f"systems.{name}.model", system.model)
        for decoding, options in system.decodings.items():
            said -= _defaults(captioner.Decoding, f"systems.{name}.decodings.{decoding}", options)
    return said


def _defaults(settings: type, where: str, options: dict[str, Any]) -> set[str]:
    """Those of a captioner's own options that say what it does anyway."""
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


def _of_data(old: dict, new: dict) -> Iterator[Cause]:
    """Data that come from outside: prepared captions and photos, a file of predictions, named weights, photos that could not be used."""
    facts, others = old["facts"], new["facts"]
    for key in ("sha256", "weights"):
        a, b = facts.get(key), others.get(key)
        if (
            a is None or b is None or (key == "weights" and "name" not in others)
        ):  # weights trained here are no cause, but an effect
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


def _of_code(old: dict, new: dict, verb: str, files: tuple[str, ...]) -> Iterator[Cause]:
    commits, dirty = (
        [side["code"]["commit"] for side in (old, new)],
        [side["code"]["dirty"] for side in (old, new)],
    )
    if commits[0] != commits[1]:
        changed = _changed(*commits, files)
        if changed is None:
            yield Cause(
                "code",
                "commit (not in this checkout, so what changed cannot be told)",
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
    """What layout.VERSIONS says of a stage on both sides."""
    a, b = (declared_version(side, verb) for side in (old, new))
    if a is None or b is None:
        return "whether the result was meant to stay is not known"
    return (
        "meant to leave the result as it is"
        if a == b
        else f"meant to change the result: the stage's version is {a} -> {b}"
    )


def declared_version(manifest: dict, verb: str) -> int | None:
    """Of the stage's code when it ran."""
    return manifest.get("version") or (_versions(manifest["code"]["commit"]) or {}).get(verb)


@cache
def _versions(commit: str | None) -> dict[str, int] | None:
    return stage_versions(commit) if commit else None


@cache
def _changed(old: str | None, new: str | None, files: tuple[str, ...]) -> list[str] | None:
    return files_changed(old, new, files) if old and new else None


@cache
def _pins(commit: str | None) -> dict[str, str] | None:
    return pins(commit) if commit else None


def of_versions(old: dict, new: dict) -> Iterator[Cause]:
    """Packages whose version changed: of the lock files, where git has them, else of those that the manifests name."""
    a, b = old["host"], new["host"]
    versions = [dict(of.get("packages", {}), python=of.get("python")) for of in (a, b)]
    locked = old["code"]["lock"] != new["code"]["lock"]
    known = [_pins(side["code"]["commit"]) for side in (old, new)] if locked else [{}, {}]
    for name in sorted(set(versions[0]) & set(versions[1])):
        if versions[0][name] != versions[1][name]:
            yield Cause("versions", name, versions[0][name], versions[1][name])
    if None in known:
        yield Cause(
            "versions",
            "lock file (not in this checkout)",
            old["code"]["lock"][:12],
            new["code"]["lock"][:12],
        )
        return
    repinned = sorted(
        name
        for name in set(known[0]) & set(known[1])
        if known[0][name] != known[1][name] and name not in versions[0]
    )
    for name in repinned:
        yield Cause("versions", f"{name} (lock file)", known[0][name], known[1][name])


def _of_hardware(old: dict, new: dict, timed: bool) -> Iterator[Cause]:
    sides = []
    portable = not timed and all(
        side["config"].get("arithmetic") == "portable" for side in (old, new)
    )  # the same on every processor
    for side in (old, new):
        facts, host = side["facts"], side["host"]
        gpu = host.get("gpu") or {}
        cpu = None if portable else host.get("cpu")
        found = {
            "CPU": cpu,
            "device": facts.get("device"),
            "GPU": gpu.get("device"),
            "driver": gpu.get("driver_version"),
        }
        if timed:
            machine = {
                key: value for key, value in (facts.get("machine") or {}).items() if key != "torch"
            }
            found |= {"cores": host.get("cores"), "system": host.get("system")} | {
                f"machine.{key}": value for key, value in machine.items()
            }
        sides.append(found)
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        a, b = (side.get(key) for side in sides)
        if a is not None and b is not None and a != b:
            yield Cause("hardware", key, _plain(a), _plain(b))


def short(commit: str | None) -> str:
    return (commit or "unknown")[:8]


def listed(files: Iterable[str]) -> str:
    """The first files of many."""
    files = list(files)
    return ", ".join(files[:_SHOWN]) + (
        f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    )
