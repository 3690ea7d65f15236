"""latency.md: what `pytest --benchmark-only --benchmark-json FILE` measured, one section a machine, and its CSV."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, replacing, write_text
from dsacap.reporting.pipe_table import markdown

_STATE = ("system", "decoding", "length", "compiled", "precision", "stage", "images")
_COLUMNS = (
    "machine",
    *_STATE,
    "iterations",
    "median_ms",
    "p90_ms",
    "p99_ms",
    "images_per_s",
    "passes",
    "flops",
    "parameters",
)
_UNSTEADY = (
    "device",
    "kHz",
    "clocks.sm",
    "temperature.gpu",
)  # they differ from one row to the next of one machine
_MEMORY = ("process_mib", "allocated_mib", "reserved_mib")


def write_latency(files: Sequence[Path], page: Path) -> None:
    """Writes the CSV beside `page` and, last, `page`. What several runs on one machine measured of a row counts together: a machine that
    drifts is slow for one row in one run and for another in the next. UserError where a file is no report, or holds no latencies."""
    reports = list(map(_read, files))
    benchmarks = [benchmark for report in reports for benchmark in report["benchmarks"]]
    found = pd.DataFrame(_rows(benchmarks), columns=[*_COLUMNS, *_MEMORY])
    found = found.sort_values(
        "system", key=lambda names: pd.factorize(names)[0], kind="stable"
    )  # a system's rows together
    if found.empty:
        raise UserError(
            f"{', '.join(map(str, files))}: no latencies; run pytest --benchmark-only tests/benchmarks --benchmark-json FILE"
        )
    with replacing(page.with_suffix(".csv")) as temporary:
        found.to_csv(temporary, index=False)
    parts = [
        "# Latency",
        "Written by `dsacap report-latency`; the protocol is that of docs/latency.md. All numbers: "
        f"{page.with_suffix('.csv').name}. Compare within a section, never across machines.",
    ]
    if made := [f"- {line}" for line in map(_made, reports) if line]:
        parts.append("\n".join(made))
    for machine, rows in found.groupby("machine", sort=False):
        parts.append(f"## {machine}")
        for (compiled, precision), alike in rows.groupby(["compiled", "precision"], sort=False):
            parts += _section(alike, ", ".join([precision, "compiled" if compiled else "eager"]))
    if not any("cuda" in benchmark["extra_info"].get("machine", {}) for benchmark in benchmarks):
        parts += ["## GPU", "not measured"]
    parts += _profiles(benchmarks)
    if outside := _outside(benchmarks):
        headers = [
            "Greedy decoding of as many words",
            "mode",
            "batch",
            "median ms",
            "us a word and image",
            "parameters",
        ]
        parts += [
            "## Beside transformers' `generate()`, on the machine above",
            markdown(headers, outside, 2),
        ]
    write_text(page, "\n\n".join(parts) + "\n")


def _read(file: Path) -> dict:
    """UserError where it is no report of pytest-benchmark's with all times."""
    report = read_json(file)
    try:
        for benchmark in report["benchmarks"]:
            benchmark["extra_info"], benchmark["stats"]["data"]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{file}: no report of pytest-benchmark ({type(error).__name__} {error}); use --benchmark-json"
        ) from None
    return report


def _rows(benchmarks: Sequence[dict]) -> list[dict]:
    """One of each machine and state, in the order in which they first come."""
    times: dict[tuple, list[float]] = {}
    told_of = {}
    for benchmark in benchmarks:
        if "stage" in (told := benchmark["extra_info"]):
            key = (_machine(told["machine"]), *(told[name] for name in _STATE))
            times.setdefault(key, []).extend(benchmark["stats"]["data"])
            told_of.setdefault(key, told)
    return [_row(key[0], told_of[key], pd.Series(seconds) * 1000) for key, seconds in times.items()]


def _made(report: dict) -> str:
    """When a run was made, and from which commit, as pytest-benchmark tells."""
    code = report.get("commit_info") or {}
    changed = " with local changes" if code.get("dirty") else ""
    return (
        f"measured {report['datetime'][:19]} from commit {code.get('id', 'unknown')}{changed}"
        if "datetime" in report
        else ""
    )


def _row(machine: str, told: dict, ms: pd.Series) -> dict:
    quantiles = dict(
        zip(("median_ms", "p90_ms", "p99_ms"), ms.quantile([0.5, 0.9, 0.99]), strict=True)
    )
    return {
        **{key: told.get(key) for key in (*_STATE, "passes", "flops", "parameters", *_MEMORY)},
        **quantiles,
        "machine": machine,
        "iterations": len(ms),
        "images_per_s": 1000 * told["images"] / quantiles["median_ms"],
    }


def _machine(facts: dict) -> str:
    known = [
        f"{name} {value}"
        for name, value in facts.items()
        if value is not None and name not in _UNSTEADY
    ]
    return f"{facts['device']}: {', '.join(known)}"


def _section(rows: pd.DataFrame, mode: str) -> list[str]:
    parts = []
    natural, fixed = rows[rows.length.isna()], rows[rows.length.notna()]
    if len(natural):
        parts += [f"### Trained weights, captions of natural length ({mode})", _natural(natural)]
        parts.append(
            "Single stream: a batch of 1 from features in memory to word ids, p50, p90 and p99 in ms; then p50 from pixels in memory, "
            "and from the file of a photo to text. Offline: images/s of the largest batch timed. Passes, operations and peak memory of the "
            "process are of a batch of 1."
        )
    if len(fixed):
        parts += [f"### Random weights, captions of fixed length ({mode})", _fixed(fixed)]
        parts.append(
            "Median ms of a batch of 1, and images/s offline, of captions of so many words."
        )
    return parts


def _natural(rows: pd.DataFrame) -> str:
    lines = []
    for (system, decoding), of in rows.groupby(["system", "decoding"], sort=False):
        stage = "decode" if (of.stage == "decode").any() else "encode"
        alone = _one(of, stage, 1)
        cells = [f"{alone[name]:.1f}" for name in ("median_ms", "p90_ms", "p99_ms")]
        cells += [_ms(_one(of, whole, 1)) for whole in ("end_to_end", "wall")]
        lines.append(
            [system, decoding or "pixels to features", *cells, _offline(of, stage), *_costs(alone)]
        )
    headers = [
        "System",
        "Decoding",
        "p50 ms",
        "p90",
        "p99",
        "end to end",
        "wall",
        "images/s (batch)",
    ]
    return markdown([*headers, "passes", "MFLOP", "parameters", "MiB"], lines)


def _costs(row: pd.Series) -> list[str]:
    values = (
        row.passes,
        row.flops / 1e6 if pd.notna(row.flops) else None,
        row.parameters,
        row.process_mib,
    )
    return [
        "-" if pd.isna(value) else f"{value:,.{digits}f}"
        for value, digits in zip(values, (0, 1, 0, 0), strict=True)
    ]


def _fixed(rows: pd.DataFrame) -> str:
    lengths, lines = sorted(rows.length.unique()), []
    for (system, decoding), of in rows.groupby(["system", "decoding"], sort=False):
        by_length = [of[of.length == length] for length in lengths]
        cells = [
            *(_ms(_one(each, "decode", 1)) for each in by_length),
            *(_offline(each, "decode") for each in by_length),
        ]
        lines.append([system, decoding, *cells])
    headers = [
        *(f"{n:.0f} words: ms" for n in lengths),
        *(f"{n:.0f} words: images/s (batch)" for n in lengths),
    ]
    return markdown(["System", "Decoding", *headers], lines)


def _ms(row: pd.Series | None) -> str:
    return "-" if row is None else f"{row.median_ms:.1f}"


def _offline(rows: pd.DataFrame, stage: str) -> str:
    """Throughput of the largest batch timed, and its size."""
    many = rows[(rows.stage == stage) & (rows.images > 1)]
    if many.empty:
        return "-"
    largest = many.loc[many.images.idxmax()]
    return f"{largest.images_per_s:.0f} ({largest.images})"


def _one(rows: pd.DataFrame, stage: str, images: int) -> pd.Series | None:
    found = rows[(rows.stage == stage) & (rows.images == images)]
    return None if found.empty else found.iloc[-1]


def _profiles(benchmarks: Sequence[dict]) -> list[str]:
    """Of every system's first decoding timed, at its natural length where there is one."""
    told = [
        benchmark["extra_info"] for benchmark in benchmarks if benchmark["extra_info"].get("top")
    ]
    rows, seen = [], set()
    for of in sorted(told, key=lambda of: of["length"] is not None):
        if (key := (of["system"], of["images"])) not in seen:
            seen.add(key)
            top = ", ".join(
                f"{name.removeprefix('aten::')} {100 * share:.0f} %" for name, share in of["top"]
            )
            rows.append([of["system"], of["decoding"], of["images"], top])
    if not rows:
        return []
    rows.sort(key=lambda row: (row[2], row[0]))
    return [
        "## Where the time goes",
        markdown(["System", "Decoding", "batch", "operations by their own time"], rows, 4),
    ]


def _outside(benchmarks: Sequence[dict]) -> list[list]:
    times: dict[tuple, list[float]] = {}
    for benchmark in benchmarks:
        if "whose" in (told := benchmark["extra_info"]):
            key = (
                told["compiled"],
                told["images"],
                told["whose"],
                told["words"],
                told["parameters"],
            )
            times.setdefault(key, []).extend(benchmark["stats"]["data"])
    rows = []
    for (compiled, images, whose, words, parameters), seconds in sorted(times.items()):
        median = pd.Series(seconds).median()
        mode = "compiled" if compiled else "eager"
        rows.append(
            [
                whose,
                mode,
                images,
                f"{1000 * median:.1f}",
                f"{1e6 * median / words / images:.0f}",
                f"{parameters:,}",
            ]
        )
    return rows
