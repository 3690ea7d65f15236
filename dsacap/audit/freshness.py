"""Whether a number is still up to date: what made it, compared with what is here now.

Files are compared with their recorded hashes, and the configuration, the code and the lock file of
this checkout with those of the run. What is not on this machine is unchecked, never fresh.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from dsacap.audit.cause import UNCHANGED, Cause
from dsacap.audit.causes import captioner_of, changed_settings, declared_version, non_default_keys
from dsacap.audit.chain import parts_of, settings_of
from dsacap.audit.code_changes import files_changed
from dsacap.audit.stage_code import files_of_stage
from dsacap.audit.text import listed, short
from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.common.git_checkout import LOCK, ROOT, lock_hash, pins, stage_versions
from dsacap.config.experiment import load_config, parse_config
from dsacap.config.yaml_file import read_yaml
from dsacap.reporting.table_file import Table
from dsacap.runs.layout import Layout

SAME, STALE, UNCHECKED = "same", "stale", "unchecked"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        what: configuration, code, versions or files.
        status: `SAME`, `STALE` or `UNCHECKED`.
        detail: The finding, in words.
        stages: The names of the stages that it applies to.
    """

    what: str
    status: str
    detail: str
    stages: tuple[str, ...]


def checks_of(table: Table, stages: list[str], decoding: str, config: Path | None) -> list[Check]:
    """Check everything about a cell that can be checked on this machine.

    Args:
        table: The table of the cell.
        stages: The names of the stages behind the cell.
        decoding: The decoding of the cell.
        config: The configuration to compare with. By default that is config/NAME.yaml, otherwise
            the file that the last stage was given.

    Returns:
        The findings. Equal findings about several stages are one.
    """
    manifests = {stage: table.manifests[stage] for stage in stages if stage in table.manifests}
    if not manifests:
        return [
            Check(
                "files",
                UNCHECKED,
                "the table has no manifests (table.json), so it is unknown what made this number",
                (),
            )
        ]
    found = [
        *_check_settings(table, manifests, decoding, config),
        *_check_code(manifests),
        *_check_versions(manifests),
        *_check_files(manifests, _root(table.config)),
    ]
    return _merged(found)


def verdict(checks: Iterable[Check]) -> str:
    """Return the overall status: stale if any check is, else unchecked if any is, else same."""
    statuses = {check.status for check in checks}
    return STALE if STALE in statuses else UNCHECKED if UNCHECKED in statuses else SAME


def _merged(checks: Iterable[Check]) -> list[Check]:
    """Return the checks with equal findings about several stages merged into one."""
    stages: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for check in checks:
        key = (check.what, check.status, check.detail)
        stages[key] = (
            *stages.get(key, ()),
            *(stage for stage in check.stages if stage not in stages.get(key, ())),
        )
    return [Check(*key, names) for key, names in stages.items()]


def _check_settings(
    table: Table, manifests: dict[str, dict], decoding: str, config: Path | None
) -> Iterator[Check]:
    file = config or config_file(table.name, manifests)
    if file is None:
        yield Check(
            "configuration",
            UNCHECKED,
            f"there is no config/{table.name}.yaml here; name a file by --config",
            tuple(manifests),
        )
        return
    now = load_config(file).model_dump(mode="json")
    for stage, manifest in manifests.items():
        causes = list(_changed_settings(manifest["config"], now, stage, decoding))
        for cause in causes:
            yield Check("configuration", STALE, f"{cause} (now, in {file})", (stage,))
        if not causes:
            yield Check("configuration", SAME, f"as in {file}", (stage,))


def _changed_settings(
    then: dict[str, Any], now: dict[str, Any], stage: str, decoding: str
) -> Iterator[Cause]:
    _, system, _ = parts_of(stage)
    for section in ("systems", "predictions"):
        if system in then.get(section, {}) and system not in now[section]:
            yield Cause("configuration", f"{section}.{system}", "present", "absent")
            return
    yield from changed_settings(
        settings_of(then, stage, decoding),
        settings_of(now, stage, decoding),
        non_default_keys(then),
        non_default_keys(now),
    )


def config_file(name: str, manifests: dict[str, dict]) -> Path | None:
    """Find the configuration of a table on this machine.

    Args:
        name: The name of the configuration.
        manifests: The manifests of the stages.

    Returns:
        NAME.yaml in config/ or a folder of it, here or in the checkout; otherwise the file that the
        last stage was given, if it has this name; otherwise None.
    """
    command = next(reversed(manifests.values()))["command"] if manifests else []
    given = [Path(after) for option, after in pairwise(command) if option == "--config"]
    roots = (Path("config"), ROOT / "config")
    folders = [folder for root in roots for folder in (root, *sorted(root.glob("*/")))]
    for file in (*(folder / f"{name}.yaml" for folder in folders), *given):
        if file.exists() and isinstance(keys := read_yaml(file), dict) and keys.get("name") == name:
            return file
    return None


def _check_code(manifests: dict[str, dict]) -> Iterator[Check]:
    now = stage_versions(None) or {}
    for stage, manifest in manifests.items():
        verb, code = manifest.get("stage", parts_of(stage)[0]), manifest["code"]
        if code["dirty"] is not False:
            yield Check("code", UNCHECKED, "ran with code that is in no commit", (stage,))
            continue
        changed = files_changed(
            code["commit"], None, files_of_stage(verb, captioner_of(manifest["config"], stage))
        )
        then = declared_version(manifest, verb)
        if changed is None:
            yield Check(
                "code",
                UNCHECKED,
                f"commit {short(code['commit'])} is not in this checkout,"
                " so its changes are unknown",
                (stage,),
            )
        elif changed:
            meant = (
                UNCHANGED
                if then == now.get(verb)
                else f"meant to change the result: stage version {then} -> {now.get(verb)}"
            )
            yield Check(
                "code",
                STALE,
                f"changed since {short(code['commit'])} ({meant}): {listed(changed)}",
                (stage,),
            )
        else:
            yield Check(
                "code",
                SAME,
                f"none of the files it imports has changed since {short(code['commit'])}",
                (stage,),
            )


def _check_versions(manifests: dict[str, dict]) -> Iterator[Check]:
    """Compare the lock files. A package that was added since cannot have affected the number."""
    here = lock_hash()
    for stage, manifest in manifests.items():
        code = manifest["code"]
        if here is None or code["lock"] is None:
            place = "here" if here is None else "where it ran"
            yield Check("versions", UNCHECKED, f"there is no {LOCK} {place}", (stage,))
            continue
        if code["lock"] == here:
            yield Check("versions", SAME, f"{LOCK} is the same", (stage,))
            continue
        then, now = pins(code["commit"]) if code["commit"] else None, pins(None)
        if then is None or now is None:
            yield Check(
                "versions",
                STALE,
                f"{LOCK} has changed ({code['lock'][:12]} then, {here[:12]} now)",
                (stage,),
            )
            continue
        moved = [
            f"{name} {then[name]} -> {now.get(name, 'gone')}"
            for name in sorted(then)
            if now.get(name) != then[name]
        ]
        if moved:
            yield Check("versions", STALE, f"{LOCK}: {listed(moved)}", (stage,))
        else:
            yield Check("versions", SAME, f"{LOCK} has the same pins, and new ones", (stage,))


def _root(config: dict[str, Any]) -> Path:
    """Return the folder of a run."""
    return Path(config["work"]) / config["name"]


def _check_files(manifests: dict[str, dict], run: Path) -> Iterator[Check]:
    """Compare files with their recorded hashes.

    `run` is the folder of the table's run. Some stages may lie in that of another run, if the two
    share their data.
    """
    written: dict[str, tuple[str, str]] = {}  # file -> (sha256, the stage that wrote it)
    for stage, manifest in manifests.items():
        for name, digest in (manifest.get("inputs") or {}).items():
            if name in written and written[name][0] != digest:
                yield Check(
                    "files",
                    STALE,
                    f"read another {name} than the one in the manifest of {written[name][1]},"
                    " which was run again since",
                    (stage,),
                )
        written |= {
            name: (digest, stage) for name, digest in (manifest.get("outputs") or {}).items()
        }
        recorded = list(_recorded(stage, manifest, run))
        here = [(file, digest) for file, digest in recorded if file.exists()]
        changed = [(file, digest) for file, digest in here if sha256(file) != digest]
        if not recorded:
            yield Check(
                "files",
                UNCHECKED,
                "the hashes of the files that were read and written are not recorded",
                (stage,),
            )
        if len(here) < len(recorded):
            absent = listed(str(file) for file, _ in recorded if not file.exists())
            yield Check("files", UNCHECKED, f"not on this machine: {absent}", (stage,))
        for file, digest in changed:
            yield Check(
                "files",
                STALE,
                f"{file} has changed (sha256 {digest[:12]} then, {sha256(file)[:12]} now)",
                (stage,),
            )
        if here and not changed:
            yield Check(
                "files", SAME, "the files that are here have their recorded hashes", (stage,)
            )


def _recorded(stage: str, manifest: dict, run: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that a stage read or wrote, and its recorded SHA-256.

    Stages that ran before inputs and outputs were recorded have some hashes in their facts.
    """
    config, facts = manifest["config"], manifest["facts"]
    files = {**(manifest.get("inputs") or {}), **(manifest.get("outputs") or {})}
    for name, digest in files.items():
        # Names are relative to the folder of a run, or as the configuration has them.
        places = (run / name, _root(config) / name, Path(name))
        yield next((path for path in places if path.exists()), places[0]), digest
    row = config.get("predictions", {}).get(parts_of(stage)[1]) or {}
    if isinstance(facts.get("sha256"), str) and row.get("file"):
        yield Path(row["file"]), facts["sha256"]
    if stage not in ("data", "encoder", "features", "pixels"):
        return
    try:
        layout = Layout(parse_config(config, ""))
    except UserError:  # an old configuration, whose folders this version does not know
        return
    if stage == "data" and not files:
        for name, digest in facts.get("sha256", {}).items():
            yield layout.data / (name if name.endswith(".jsonl") else f"images/{name}"), digest
    elif (
        stage == "encoder"
        and not files
        and config["encoder"].get("train")
        and (weights := facts.get("weights"))
    ):
        yield layout.encoder / weights["file"], weights["sha256"]
    elif stage in ("features", "pixels"):  # their outputs list the index alone, not the shards
        for shard in chain(facts.get("shards", ()), *facts.get("views", ())):
            yield getattr(layout, stage) / shard["file"], shard["sha256"]
