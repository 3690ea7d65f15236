"""latency.md and its CSV: what `pytest --benchmark-only --benchmark-json FILE` measured.

There is one section per machine.
"""

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
# Left out of the description of a machine: its name comes first, and the others vary over a run.
_NOT_DESCRIBED = ("device", "kHz", "clocks.sm", "temperature.gpu")
_MEMORY = ("process_mib", "allocated_mib", "reserved_mib")


def write_latency(files: Sequence[Path], page: Path) -> None:
    """Write the CSV next to `page` and, last, `page`.

    The times of a row that several runs on one machine measured are pooled: a machine that drifts
    is slow for one row in one run, and for another row in the next.

    Args:
        files: Reports of pytest-benchmark.
        page: The Markdown file to write.

    Raises:
        UserError: A file is not such a report, or none contains latencies.
    """
    reports = list(map(_read, files))
    benchmarks = [benchmark for report in reports for benchmark in report["benchmarks"]]
    found = pd.DataFrame(_rows(benchmarks), columns=[*_COLUMNS, *_MEMORY])
    # The rows of a system together, systems in the order in which they first appear.
    found = found.sort_values("system", key=lambda names: pd.factorize(names)[0], kind="stable")
    if found.empty:
        raise UserError(
            f"{', '.join(map(str, files))}: no latencies in the report; make one by"
            " pytest --benchmark-only tests/benchmarks --benchmark-json FILE"
        )
    with replacing(page.with_suffix(".csv")) as temporary:
        found.to_csv(temporary, index=False)
    parts = [
        "# Latency",
        "Written by `dsacap report-latency`; docs/latency.md describes the protocol. All numbers:"
        f" {page.with_suffix('.csv').name}. Compare rows within a section, never across machines.",
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
    if transformers := _of_transformers(benchmarks):
        headers = [
            "Greedy decoding, the same number of words",
            "mode",
            "batch",
            "median ms",
            "us per word and image",
            "parameters",
        ]
        parts += [
            "## Compared with transformers' `generate()`, on the machine above",
            markdown(headers, transformers, 2),
        ]
    write_text(page, "\n\n".join(parts) + "\n")


def _read(file: Path) -> dict:
    """Read a report of pytest-benchmark that contains all times, or raise UserError."""
    report = read_json(file)
    try:
        for benchmark in report["benchmarks"]:
            benchmark["extra_info"], benchmark["stats"]["data"]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not a report of pytest-benchmark ({type(error).__name__} {error});"
            " make one by --benchmark-json FILE"
        ) from None
    return report


def _rows(benchmarks: Sequence[dict]) -> list[dict]:
    """One row per machine and state, in the order in which they first appear."""
    times: dict[tuple, list[float]] = {}
    infos: dict[tuple, dict] = {}
    for benchmark in benchmarks:
        if "stage" in (info := benchmark["extra_info"]):
            key = (_machine(info["machine"]), *(info[name] for name in _STATE))
            times.setdefault(key, []).extend(benchmark["stats"]["data"])
            infos.setdefault(key, info)
    return [_row(key[0], infos[key], pd.Series(seconds) * 1000) for key, seconds in times.items()]


def _made(report: dict) -> str:
    """When a run was made, and from which commit, as pytest-benchmark recorded it."""
    code = report.get("commit_info") or {}
    changed = " with local changes" if code.get("dirty") else ""
    return (
        f"measured {report['datetime'][:19]} from commit {code.get('id', 'unknown')}{changed}"
        if "datetime" in report
        else ""
    )


def _row(machine: str, info: dict, ms: pd.Series) -> dict:
    quantiles = dict(
        zip(("median_ms", "p90_ms", "p99_ms"), ms.quantile([0.5, 0.9, 0.99]), strict=True)
    )
    return {
        **{key: info.get(key) for key in (*_STATE, "passes", "flops", "parameters", *_MEMORY)},
        **quantiles,
        "machine": machine,
        "iterations": len(ms),
        "images_per_s": 1000 * info["images"] / quantiles["median_ms"],
    }


def _machine(facts: dict) -> str:
    known = [
        f"{name} {value}"
        for name, value in facts.items()
        if value is not None and name not in _NOT_DESCRIBED
    ]
    return f"{facts['device']}: {', '.join(known)}"


def _section(rows: pd.DataFrame, mode: str) -> list[str]:
    parts = []
    natural, fixed = rows[rows.length.isna()], rows[rows.length.notna()]
    if len(natural):
        parts += [f"### Trained weights, captions of natural length ({mode})", _natural(natural)]
        parts.append(
            "Single stream: a batch of 1 from features in memory to word ids, p50, p90 and p99 in"
            " ms; then p50 from pixels in memory (end to end), and from the file of a photo to text"
            " (wall). Offline: images/s of the largest batch timed. Passes, operations and peak"
            " memory of the process are those of a batch of 1."
        )
    if len(fixed):
        parts += [f"### Random weights, captions of fixed length ({mode})", _fixed(fixed)]
        parts.append(
            "Median ms of a batch of 1, and images/s offline, for captions of that many words."
        )
    return parts


def _natural(rows: pd.DataFrame) -> str:
    lines = []
    for (system, decoding), of in rows.groupby(["system", "decoding"], sort=False):
        stage = "decode" if (of.stage == "decode").any() else "encode"
        single = of[(of.stage == stage) & (of.images == 1)].iloc[-1]
        cells = [f"{single[name]:.1f}" for name in ("median_ms", "p90_ms", "p99_ms")]
        cells += [_ms(_one(of, whole, 1)) for whole in ("end_to_end", "wall")]
        lines.append(
            [system, decoding or "pixels to features", *cells, _offline(of, stage), *_costs(single)]
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
    """The throughput of the largest batch timed, and its size."""
    many = rows[(rows.stage == stage) & (rows.images > 1)]
    if many.empty:
        return "-"
    largest = many.loc[many.images.idxmax()]
    return f"{largest.images_per_s:.0f} ({largest.images})"


def _one(rows: pd.DataFrame, stage: str, images: int) -> pd.Series | None:
    found = rows[(rows.stage == stage) & (rows.images == images)]
    return None if found.empty else found.iloc[-1]


def _profiles(benchmarks: Sequence[dict]) -> list[str]:
    """The section on each system's first decoding timed, at natural length if there is one."""
    infos = [
        benchmark["extra_info"] for benchmark in benchmarks if benchmark["extra_info"].get("top")
    ]
    first: dict[tuple, list] = {}
    for info in sorted(infos, key=lambda info: info["length"] is not None):
        top = ", ".join(
            f"{name.removeprefix('aten::')} {100 * share:.0f} %" for name, share in info["top"]
        )
        row = [info["system"], info["decoding"], info["images"], top]
        first.setdefault((info["images"], info["system"]), row)
    if not first:
        return []
    rows = [row for _, row in sorted(first.items())]
    return [
        "## Where the time goes",
        markdown(["System", "Decoding", "batch", "operations by their own time"], rows, 4),
    ]


def _of_transformers(benchmarks: Sequence[dict]) -> list[list]:
    times: dict[tuple, list[float]] = {}
    for benchmark in benchmarks:
        if "whose" in (info := benchmark["extra_info"]):
            keys = ("compiled", "images", "whose", "words", "parameters")
            key = tuple(info[name] for name in keys)
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
