"""Whether a cell's inputs are still what they were: files here against recorded hashes, the configuration, the code and the lock file of
this checkout against those that ran. What is not on this machine is said to be unchecked, never fresh.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from dsacap.audit.causes import (
    Cause,
    captioner_of,
    changed_settings,
    declared_version,
    listed,
    said_keys,
    short,
)
from dsacap.audit.chain import parts_of, settings_of
from dsacap.audit.code_changes import files_changed
from dsacap.audit.stage_code import files_of_stage
from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.common.git_checkout import LOCK, ROOT, pins, stage_versions
from dsacap.config.experiment import load_config, parse_config
from dsacap.config.yaml_file import read_yaml
from dsacap.reporting.table_file import Table
from dsacap.runs.layout import Layout

SAME, STALE, UNCHECKED = "same", "stale", "unchecked"


@dataclass(frozen=True)
class Check:
    """`what` is configuration, code, versions or files; `stages` are those it was looked at for."""

    what: str
    status: str
    detail: str
    stages: tuple[str, ...]


def checks_of(table: Table, stages: list[str], decoding: str, config: Path | None) -> list[Check]:
    """All that can be checked here of `stages`, those of a cell. `config` is what the configuration is compared with; by default
    config/NAME.yaml, else the file that the stages were given."""
    manifests = {stage: table.manifests[stage] for stage in stages if stage in table.manifests}
    if not manifests:
        return [
            Check(
                "files",
                UNCHECKED,
                "no manifest beside the table, so nothing says what made this number",
                (),
            )
        ]
    found = [
        *_of_settings(table, manifests, decoding, config),
        *_of_code(manifests),
        *_of_versions(manifests),
        *_of_files(manifests, _root(table.config)),
    ]
    return _joined(found)


def verdict(checks: Iterable[Check]) -> str:
    """stale if anything is; unchecked if something could not be looked at; same otherwise."""
    statuses = {check.status for check in checks}
    return STALE if STALE in statuses else UNCHECKED if UNCHECKED in statuses else SAME


def _joined(checks: Iterable[Check]) -> list[Check]:
    """What is said alike of several stages, once."""
    stages: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for check in checks:
        key = (check.what, check.status, check.detail)
        stages[key] = (
            *stages.get(key, ()),
            *(stage for stage in check.stages if stage not in stages.get(key, ())),
        )
    return [Check(*key, of) for key, of in stages.items()]


def _of_settings(
    table: Table, manifests: dict[str, dict], decoding: str, config: Path | None
) -> Iterator[Check]:
    file = config or config_file(table.name, manifests)
    if file is None:
        yield Check(
            "configuration",
            UNCHECKED,
            f"no config/{table.name}.yaml here; name one by --config",
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
            yield Cause("configuration", f"{section}.{system}", "there", "absent")
            return
    yield from changed_settings(
        settings_of(then, stage, decoding),
        settings_of(now, stage, decoding),
        said_keys(then),
        said_keys(now),
    )


def config_file(name: str, manifests: dict[str, dict]) -> Path | None:
    """config/NAME.yaml; else what the last stage was given, where that is of the same data set."""
    command = next(reversed(manifests.values()))["command"] if manifests else []
    given = [Path(after) for option, after in pairwise(command) if option == "--config"]
    for file in (Path("config") / f"{name}.yaml", ROOT / "config" / f"{name}.yaml", *given):
        if file.exists() and isinstance(said := read_yaml(file), dict) and said.get("name") == name:
            return file
    return None


def _of_code(manifests: dict[str, dict]) -> Iterator[Check]:
    now = stage_versions(None) or {}
    for stage, manifest in manifests.items():
        verb, code = manifest.get("stage", parts_of(stage)[0]), manifest["code"]
        if code["dirty"] is not False:
            yield Check("code", UNCHECKED, "ran from code that no commit holds", (stage,))
            continue
        changed = files_changed(
            code["commit"], None, files_of_stage(verb, captioner_of(manifest["config"], stage))
        )
        then = declared_version(manifest, verb)
        if changed is None:
            yield Check(
                "code",
                UNCHECKED,
                f"commit {short(code['commit'])} is not in this checkout, so what changed cannot be told",
                (stage,),
            )
        elif changed:
            meant = (
                "to leave the result as it is"
                if then == now.get(verb)
                else f"to change it, stage version {then} -> {now.get(verb)}"
            )
            yield Check(
                "code",
                STALE,
                f"changed since {short(code['commit'])} (meant {meant}): {listed(changed)}",
                (stage,),
            )
        else:
            yield Check(
                "code",
                SAME,
                f"no file that it runs has changed since {short(code['commit'])}",
                (stage,),
            )


def _of_versions(manifests: dict[str, dict]) -> Iterator[Check]:
    """Lock files; a package that was added since cannot have made the number."""
    here = sha256(ROOT / LOCK)
    for stage, manifest in manifests.items():
        code = manifest["code"]
        if code["lock"] == here:
            yield Check("versions", SAME, f"{LOCK} is the same", (stage,))
            continue
        then, now = pins(code["commit"]) if code["commit"] else None, pins(None)
        if then is None:
            yield Check(
                "versions",
                STALE,
                f"{LOCK} is another ({code['lock'][:12]} then, {here[:12]} now)",
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
            yield Check("versions", SAME, f"{LOCK} pins all that it pinned, and more", (stage,))


def _root(config: dict[str, Any]) -> Path:
    """The folder of a run."""
    return Path(config["work"]) / config["name"]


def _of_files(manifests: dict[str, dict], run: Path) -> Iterator[Check]:
    """`run` is the folder of the table's run; a stage may have been another's, whose data it shares."""
    written: dict[str, tuple[str, str]] = {}  # file -> (sha256, the stage that wrote it)
    for stage, manifest in manifests.items():
        for name, digest in (manifest.get("inputs") or {}).items():
            if name in written and written[name][0] != digest:
                yield Check(
                    "files",
                    STALE,
                    f"read another {name} than {written[name][1]} wrote last, so that was run again since",
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
                "hashes of what was read and written were not recorded",
                (stage,),
            )
        if len(here) < len(recorded):
            absent = listed(str(file) for file, _ in recorded if not file.exists())
            yield Check("files", UNCHECKED, f"not on this machine: {absent}", (stage,))
        for file, digest in changed:
            yield Check(
                "files",
                STALE,
                f"{file} is another file (sha256 {digest[:12]} then, {sha256(file)[:12]} now)",
                (stage,),
            )
        if here and not changed:
            yield Check("files", SAME, "those that are here have the recorded hashes", (stage,))


def _recorded(stage: str, manifest: dict, run: Path) -> Iterator[tuple[Path, str]]:
    """File -> sha256, of what was read and written; of stages of before that was recorded, what their facts know."""
    config, facts = manifest["config"], manifest["facts"]
    files = {**(manifest.get("inputs") or {}), **(manifest.get("outputs") or {})}
    for name, digest in files.items():
        places = (
            run / name,
            _root(config) / name,
            Path(name),
        )  # in a run's folder, or as the configuration names it
        yield next((path for path in places if path.exists()), places[0]), digest
    brought = config.get("predictions", {}).get(parts_of(stage)[1]) or {}
    if isinstance(facts.get("sha256"), str) and brought.get("file"):
        yield Path(brought["file"]), facts["sha256"]
    if stage not in ("data", "encoder", "features", "pixels"):
        return
    try:
        layout = Layout(parse_config(config, ""))
    except UserError:  # a configuration of before: where its files lay is not known any more
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
    elif stage in ("features", "pixels"):  # of which inputs and outputs hold the index alone
        for shard in chain(facts.get("shards", ()), *facts.get("views", ())):
            yield getattr(layout, stage) / shard["file"], shard["sha256"]
