"""The output of `dsacap explain`: a cell, the stages behind it, and whether it is up to date."""

import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsacap.audit.cause import UNCHANGED
from dsacap.audit.chain import chain, parts_of, settings_of
from dsacap.audit.freshness import SAME, STALE, UNCHECKED, checks_of, config_file, verdict
from dsacap.audit.names import find_decoding, find_metric, find_system
from dsacap.audit.text import wrapped
from dsacap.common.errors import UserError
from dsacap.config.experiment import load_config
from dsacap.reporting.published_figures import reported_on
from dsacap.reporting.table_file import Table

_LEFT = 12
_VERDICTS = {
    SAME: "yes, nothing that can be checked here has changed",
    UNCHECKED: "unknown, since not everything can be checked here",
}
_NOT_RECORDED = "not recorded (the stage ran before hashes of files were recorded)"


def explain(
    table: Table, system: str, decoding: str | None, metric: str, config: Path | None
) -> dict[str, Any]:
    """Collect everything known about a cell of a table, as plain data.

    Args:
        table: The table.
        system: The system, by key or label, as a user types it. It may also be a model whose
            figures only others report.
        decoding: The decoding, as a user types it; None if the system has only one.
        metric: The metric, as a user types it.
        config: The configuration to compare with; None for that of the same name.

    Returns:
        The cell, its stages, the checks of whether it is up to date, and figures that others report
        for a model of that name.

    Raises:
        UserError: There is no such cell.
    """
    others = _reported_models(table, config)
    reported = [row for row in others if row["model"].casefold() == system.casefold()]
    try:
        key = find_system(table, system, [row["model"] for row in others])
    except UserError:
        if not reported:
            raise
        return {"table": str(table.path), "cell": None, "reported": reported}
    metric = find_metric(table, key, metric)
    decoding = find_decoding(table, key, metric, decoding)
    stages = chain(table, key, decoding, metric)
    checks = checks_of(table, stages, decoding, config)
    return {
        "table": str(table.path),
        "cell": _cell(table, key, decoding, metric),
        "stages": [_stage(table, stage, decoding) for stage in stages],
        "fresh": {"verdict": verdict(checks), "checks": [vars(check) for check in checks]},
        "reported": reported,
    }


def _reported_models(table: Table, config: Path | None) -> list[dict]:
    """Return the figures that others report, if the file that the configuration names is here."""
    now = config or config_file(table.name, table.manifests)
    file = table.config.get("published") or (now and load_config(now).published)
    return reported_on(Path(file), table.name) if file and Path(file).exists() else []


def _cell(table: Table, system: str, decoding: str, metric: str) -> dict[str, Any]:
    rows = table.rows(system, decoding, metric)
    intervals = zip(rows.ci_low, rows.ci_high, strict=True)
    return {
        "dataset": table.name,
        "system": system,
        "label": table.label(system),
        "decoding": decoding,
        "metric": metric,
        "value": float(rows.value.mean()),
        "unit": str(rows.unit.iloc[0]),
        "n": None if rows.n.isna().any() else int(rows.n.iloc[0]),
        "seeds": [int(seed) for seed in rows.seed.dropna()],
        "values": [float(value) for value in rows.value],
        "intervals": [None if low != low else [float(low), float(high)] for low, high in intervals],
        "signature": table.signature(metric),
    }


def _stage(table: Table, stage: str, decoding: str) -> dict[str, Any]:
    """Return a stage's manifest, with the settings that count instead of the configuration."""
    manifest = table.manifests.get(stage)
    if manifest is None:
        return {"name": stage, "recorded": False}
    text = json.dumps(manifest["config"], sort_keys=True)
    settings = settings_of(manifest["config"], stage, decoding)
    kept = {key: value for key, value in manifest.items() if key != "config"}
    return {
        "name": stage,
        "recorded": True,
        **kept,
        "settings": settings,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def render(found: dict[str, Any]) -> str:
    """Return the result of `explain` as text."""
    parts = []
    if found["cell"]:
        shared = _shared(found["stages"])
        parts = [
            _head(found) + f"\n{_verdict(found['fresh'])}",
            _all_stages(found["stages"], shared, any(found["cell"]["intervals"])),
        ]
        parts += [_one_stage(at, stage, shared) for at, stage in enumerate(found["stages"], 1)]
        parts.append("\n".join(["What was checked", *_checks(found["fresh"]["checks"])]))
    return "\n\n".join([*parts, *(_reported(row) for row in found["reported"])])


def _head(found: dict[str, Any]) -> str:
    cell = found["cell"]
    name = (
        cell["label"] if cell["label"] == cell["system"] else f"{cell['label']} ({cell['system']})"
    )
    parts = [part for part in (name, cell["decoding"], cell["metric"]) if part]
    lines = [f"{found['table']}: {', '.join(parts)}"]
    images = f", {cell['n']} images" if cell["n"] and cell["unit"] not in ("ms", "images/s") else ""
    lines.append(
        f"= {cell['value']:.6g} ({cell['unit']}{images})"
        + (f", mean of {len(cell['seeds'])} seeds" if len(cell["seeds"]) > 1 else "")
    )
    for seed, value, interval in zip(
        cell["seeds"] or [None], cell["values"], cell["intervals"], strict=False
    ):
        between = f", 95 % interval {interval[0]:.6g} to {interval[1]:.6g}" if interval else ""
        if between or len(cell["values"]) > 1:
            lines.append(
                f"  {'seed ' + str(seed) if seed is not None else 'no seed'}: {value:.6g}{between}"
            )
    lines.append(wrapped(f"  signature: {cell['signature'] or 'none recorded'}", "    "))
    return "\n".join(lines)


def _shared(stages: list[dict]) -> dict[str, str]:
    """Return what all recorded stages have in common, which is printed once."""
    environments = [_environment(stage) for stage in stages if stage["recorded"]]
    if not environments:
        return {}
    return {
        key: value
        for key, value in environments[0].items()
        if all(other.get(key) == value for other in environments)
    }


def _environment(stage: dict) -> dict[str, str]:
    host, code = stage["host"], stage["code"]
    state = {False: "clean", True: "with uncommitted changes", None: "not a checkout"}[
        code["dirty"]
    ]
    gpu = host.get("gpu") or {}
    hardware = [
        host["cpu"],
        f"{host['cores']} cores",
        host["system"],
        *(f"{key} {value}" for key, value in gpu.items() if value),
    ]
    changes = f" {code['changes'][:12]}" if code.get("changes") else ""
    locked, configured = (code["lock"] or "none")[:12], stage["config_sha256"][:12]
    return {
        "code": f"commit {(code['commit'] or 'unknown')[:12]}, {state}{changes};"
        f" lock file {locked}; configuration {configured}",
        "hardware": ", ".join(hardware),
        "versions": f"Python {host['python']}, "
        + ", ".join(f"{name} {version}" for name, version in host["packages"].items()),
    }


def _all_stages(stages: list[dict], shared: dict[str, str], bootstrapped: bool) -> str:
    seeds = {
        key: value
        for stage in stages
        if stage["recorded"]
        for key, value in stage["settings"].items()
        if key.endswith(".seed")
    }
    trained = list(
        dict.fromkeys(seed for stage in stages if (seed := parts_of(stage["name"])[2]) is not None)
    )
    seeds |= (
        {"training (weights, order of images)": ", ".join(map(str, trained))} if trained else {}
    )
    seeds |= {"bootstrap": "fixed in the code"} if bootstrapped else {}
    lines = [
        _line(
            "seeds",
            ", ".join(f"{key.removesuffix('.seed')} {value}" for key, value in seeds.items())
            or "none",
        )
    ]
    return "\n".join(
        [
            "All stages (hashes are the first digits of SHA-256; --json prints them in full)",
            *lines,
            *(_line(key, value) for key, value in shared.items()),
        ]
    )


def _one_stage(at: int, stage: dict, shared: dict[str, str]) -> str:
    if not stage["recorded"]:
        return f"{at}. {stage['name']}\n" + _line("manifest", "not in this table")
    when = (
        f"{stage['started'].replace('T', ' ').removesuffix('+00:00')} UTC"
        if stage.get("started")
        else "time not recorded"
    )
    cost = (
        f"{stage['seconds']:.0f} s, {stage['cpu_seconds']:.0f} CPU-s,"
        f" peak {stage['peak_memory_mib']} MiB"
    )
    name = (
        stage["name"]
        if stage.get("stage", "") in stage["name"]
        else f"{stage['name']} (stage {stage['stage']})"
    )
    lines = [f"{at}. {name}: {when}, {cost}", _line("command", shlex.join(stage["command"]))]
    lines += [_line(key, value) for key, value in _environment(stage).items() if key not in shared]
    lines.append(
        _line(
            "settings",
            "; ".join(f"{key} {value}" for key, value in stage["settings"].items()) or "none",
        )
    )
    lines += [_line("facts", _plain(stage["facts"]))] if stage["facts"] else []
    for key, files in (("read", stage.get("inputs")), ("wrote", stage.get("outputs"))):
        hashes = "; ".join(f"{name} {digest[:12]}" for name, digest in (files or {}).items())
        lines.append(_line(key, hashes or ("nothing" if files is not None else _NOT_RECORDED)))
    return "\n".join(lines)


def _plain(facts: dict) -> str:
    """Return facts on one line."""
    shown = {
        key: value
        for key, value in facts.items()
        if key not in ("decodings", "signatures") and value not in ({}, [], None)
    }
    return "; ".join(f"{key} {_value(value)}" for key, value in shown.items()) or "none"


def _value(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:  # a hash; --json prints it in full
        return value[:12]
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_value(inner)}" for key, inner in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(_value(inner) for inner in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _verdict(fresh: dict[str, Any]) -> str:
    """Return whether the number would be the same now, which the list of checks explains."""
    changed: dict[str, bool] = {}  # what changed -> whether it was meant to leave the result alone
    for check in fresh["checks"]:
        if check["status"] == STALE:
            unchanged = UNCHANGED in check["detail"]
            changed[check["what"]] = changed.get(check["what"], True) and unchanged
    names = [f"{what} ({UNCHANGED})" if meant else what for what, meant in changed.items()]
    answer = f"no; changed: {', '.join(names)}" if names else _VERDICTS[fresh["verdict"]]
    return wrapped(f"  up to date: {answer} (the checks are listed at the end)", "    ")


def _checks(checks: list[dict]) -> Iterator[str]:
    order = (STALE, UNCHECKED, SAME)
    for check in sorted(checks, key=lambda check: order.index(check["status"])):
        stages = check["stages"]
        more = f" and {len(stages) - 3} more" if len(stages) > 3 else ""
        where = f" [{', '.join(stages[:3])}{more}]" if stages else ""
        line = f"  {check['status']:<10}{check['what']}: {check['detail']}{where}"
        yield wrapped(line, " " * _LEFT)


def _reported(row: dict[str, Any]) -> str:
    """Return the lines about figures that were not measured here."""
    figures = ", ".join(f"{metric} {value}" for metric, value in row["figures"].items())
    lines = [
        f"Reported by others, not measured here: {row['model']}, {figures}",
        _line("source", row["source"]),
    ]
    lines.append(_line("read", row["read"]))
    kept = {key: row[key] for key in ("group", "encoder", "passes", "rl", "note") if row[key]}
    return "\n".join(
        [*lines, *(_line(key, value) for key, value in kept.items()), _line("file", row["where"])]
    )


def _line(key: str, value: str) -> str:
    return wrapped(f"   {key:<{_LEFT - 3}} {value}", " " * (_LEFT + 1))
