"""The output of `dsacap diff`, as text and as JSON."""

from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

from tabulate import tabulate

from dsacap.audit.cause import Cause
from dsacap.audit.chain import is_measured
from dsacap.audit.compare import Comparison, Difference, Side
from dsacap.audit.text import listed, short, wrapped
from dsacap.reporting.table_file import Table

_FEW = 3
# The first of these metrics that changed represents its row.
_HEADLINE = ("CIDEr", "held_out_CIDEr", "Self-CIDEr", "val_CIDEr")


def render(found: Comparison, *, cells: bool = False) -> str:
    """Return the comparison as text.

    Args:
        found: The comparison.
        cells: Whether to list every changed cell instead of one line per row.
    """
    parts = [_sides(found), _verdict(found)]
    if found.scores:
        number = {cause: at for at, cause in enumerate(_causes(found.scores), 1)}
        parts += [_changed(found, number, cells), _cause_list(found, number)]
    parts += [
        _only(found.old, "A", found.only_old),
        _only(found.new, "B", found.only_new),
        _measured(found),
    ]
    return "\n\n".join(part for part in parts if part)


def as_json(found: Comparison) -> dict[str, Any]:
    """Return the comparison as plain data: every changed cell with its causes."""
    return {
        "a": _described(found.old),
        "b": _described(found.new),
        "same": found.same,
        "differs": found.differs,
        "changed": [_cell(difference) for difference in found.scores],
        "measured": {
            "other_machine": [str(cause) for cause in found.machine],
            "changed": [_cell(difference) for difference in found.measured],
        },
        "only_in_a": [list(key) for key in found.only_old],
        "only_in_b": [list(key) for key in found.only_new],
    }


def _described(table: Table) -> dict[str, Any]:
    commits = dict.fromkeys(manifest["code"]["commit"] for manifest in table.manifests.values())
    return {"table": str(table.path), "dataset": table.name, "commits": list(commits)}


def _cell(difference: Difference) -> dict[str, Any]:
    sides = {name: vars(side) for name, side in (("a", difference.old), ("b", difference.new))}
    key = {
        "system": difference.system,
        "decoding": difference.decoding,
        "metric": difference.metric,
    }
    causes = [{**vars(cause), "stages": stages} for cause, stages in difference.causes.items()]
    return {
        **key,
        **sides,
        "change": difference.change,
        "against_interval": difference.against,
        "causes": causes,
    }


def _sides(found: Comparison) -> str:
    lines = []
    for name, table in (("A", found.old), ("B", found.new)):
        manifests = table.manifests.values()
        commits = (
            ", ".join(dict.fromkeys(short(manifest["code"]["commit"]) for manifest in manifests))
            or "unknown"
        )
        days = sorted(manifest.get("started", "")[:10] for manifest in manifests)
        when = (
            f", {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")
            if days
            else ", without manifests"
        )
        lines.append(f"{name}: {table.path} ({table.name}{when}; commit {commits})")
    return "\n".join(lines)


def _verdict(found: Comparison) -> str:
    counts = [f"{found.same} cells are the same", f"{len(found.scores)} changed"]
    sides = (("A", found.only_old), ("B", found.only_new))
    counts += [
        f"{sum(not is_measured(metric) for *_, metric in keys)} only in {name}"
        for name, keys in sides
    ]
    measured = (
        f" {len(found.measured)} measured cells (latency, memory, CPU seconds) differ too;"
        " they are reported apart."
        if found.measured
        else ""
    )
    return wrapped(
        ("No difference: " if not found.differs else "") + ", ".join(counts) + "." + measured
    )


def _causes(differences: Iterable[Difference]) -> dict[Cause, tuple[str, ...]]:
    """Return each cause with all stages that it affects, the likeliest first."""
    found: dict[Cause, tuple[str, ...]] = {}
    for difference in differences:
        for cause, stages in difference.causes.items():
            found[cause] = tuple(dict.fromkeys((*found.get(cause, ()), *stages)))
    return {cause: found[cause] for cause in sorted(found, key=lambda cause: cause.rank)}


def _changed(found: Comparison, number: dict[Cause, int], cells: bool) -> str:
    by_row: dict[tuple[str, str], list[Difference]] = {}
    for difference in found.scores:
        by_row.setdefault((difference.system, difference.decoding), []).append(difference)
    lines = []
    for (system, decoding), differences in by_row.items():
        by_importance = sorted(
            differences,
            key=lambda d: _HEADLINE.index(d.metric) if d.metric in _HEADLINE else len(_HEADLINE),
        )
        for shown in differences if cells else by_importance[:1]:
            causes = {
                number[cause] for d in ([shown] if cells else differences) for cause in d.causes
            }
            beyond = (
                []
                if cells
                else [
                    f"{len(differences)}, {sum(d.against == 'beyond' for d in differences)} beyond"
                ]
            )
            values = [
                *(_value(side) for side in (shown.old, shown.new)),
                f"{shown.change:+.4g}",
                shown.against,
            ]
            lines.append(
                [found.new.label(system), decoding, *beyond, shown.metric, *values, _ranges(causes)]
            )
    headers = [
        "System",
        "Decoding",
        *([] if cells else ["Cells"]),
        "Metric",
        "A",
        "B",
        "B - A",
        "Interval",
        "Causes",
    ]
    legend = (
        "± is half the 95 % interval. within: each value lies in the other's interval; beyond:"
        " neither does; partly: one does. A change within both intervals may be chance. This is not"
        " a significance test, which needs per-image scores (dsacap compare)."
    )
    return (
        "Changed"
        + ("" if cells else ", one line per row (--cells lists all cells)")
        + f"\n\n{_table(lines, headers)}\n\n{wrapped(legend)}"
    )


def _value(side: Side) -> str:
    return f"{side.value:.4g}" + (f" ± {side.half:.2g}" if side.half is not None else "")


def _cause_list(found: Comparison, number: dict[Cause, int]) -> str:
    stages = _causes(found.scores)
    lines = []
    for cause, at in number.items():
        where = f" [{listed(stages[cause])}]" if stages[cause] else ""
        lines.append(wrapped(f"{at:>3}  {cause.kind:<14} {cause}{where}", indent=" " * 20))
    return (
        "Causes: every difference in what made these cells,"
        " after the last stage with equal results\n\n" + "\n".join(lines)
    )


def _only(table: Table, name: str, keys: list[tuple[str, str, str]]) -> str:
    """Return what one table alone has: whole rows by name, single cells by metric and row."""
    if not keys:
        return ""
    by_row: dict[tuple[str, str], list[str]] = {}
    for system, decoding, metric in keys:
        by_row.setdefault((system, decoding), []).append(metric)
    sizes = table.numbers.groupby(["system", "decoding"]).metric.nunique()
    whole = [row for row, metrics in by_row.items() if len(metrics) == sizes[row]]
    rows_with: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for row, metrics in by_row.items():
        if row not in whole:
            rows_with.setdefault(tuple(metrics), []).append(row)
    lines = [f"  {name}" for name in _rows(table, whole)]
    for metrics_of_rows, rows in rows_with.items():
        names = "; ".join(_rows(table, rows)) if len(rows) <= _FEW else f"{len(rows)} rows"
        lines.append(f"  {', '.join(metrics_of_rows)} of {names}")
    return f"Only in {name}\n\n" + "\n".join(wrapped(line, indent="    ") for line in lines)


def _rows(table: Table, rows: list[tuple[str, str]]) -> list[str]:
    """Return a line for each system, with its decodings."""
    by_system: dict[str, list[str]] = {}
    for system, decoding in rows:
        by_system.setdefault(system, []).extend([decoding] if decoding else [])
    return [
        f"{table.label(system)}: {' / '.join(names)}" if names else f"{table.label(system)} itself"
        for system, names in by_system.items()
    ]


def _measured(found: Comparison) -> str:
    if not found.measured:
        return ""
    lines = [f"Measured on a machine: {len(found.measured)} cells differ, as they always do"]
    if found.machine:
        lines.append(
            wrapped(
                "Latency and memory are not comparable, because the machines differ: "
                + "; ".join(map(str, found.machine)),
                indent="  ",
            )
        )
    else:
        lines += _ratios(found, "median latency", lambda d: d.metric.startswith("latency_median"))
        lines += _ratios(found, "memory", lambda d: d.metric.startswith("memory"))
    lines += _ratios(found, "CPU seconds of training", lambda d: d.metric.endswith("_seconds"))
    return "\n".join(lines)


def _ratios(found: Comparison, name: str, wanted: Callable[[Difference], bool]) -> Iterator[str]:
    ratios = [d.new.value / d.old.value for d in found.measured if wanted(d) and d.old.value]
    if ratios:
        yield (
            f"  {name}, B / A: median {median(ratios):.2f},"
            f" range {min(ratios):.2f} to {max(ratios):.2f}, over {len(ratios)} cells"
        )


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text, with consecutive ones as a range: 1-3, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _table(rows: list[list], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
