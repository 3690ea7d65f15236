"""What `dsacap diff` says: for people, and as JSON."""

from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

from tabulate import tabulate

from dsacap.audit.causes import Cause, listed, short
from dsacap.audit.chain import is_measured
from dsacap.audit.compare import Comparison, Difference, Side
from dsacap.audit.text import wrapped
from dsacap.reporting.table_file import Table

_FEW = 3
_HEADLINE = (
    "CIDEr",
    "held_out_CIDEr",
    "Self-CIDEr",
    "val_CIDEr",
)  # the first of a row's changed metrics stands for it


def render(found: Comparison, *, cells: bool = False) -> str:
    """`cells` asks for every changed cell instead of a line a row."""
    parts = [_sides(found), _verdict(found)]
    if found.scores:
        number = {cause: at for at, cause in enumerate(_causes(found.scores), 1)}
        parts += [_changed(found, number, cells), _named(found, number)]
    parts += [
        _only(found.old, "A", found.only_old),
        _only(found.new, "B", found.only_new),
        _measured(found),
    ]
    return "\n\n".join(part for part in parts if part)


def as_json(found: Comparison) -> dict[str, Any]:
    """Every changed cell with its causes."""
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
    named = {
        "system": difference.system,
        "decoding": difference.decoding,
        "metric": difference.metric,
    }
    causes = [{**vars(cause), "stages": stages} for cause, stages in difference.causes.items()]
    return {
        **named,
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
            else ", no manifests beside it"
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
    apart = (
        f" {len(found.measured)} measured cells (latency, memory, CPU seconds) differ too, and are told apart."
        if found.measured
        else ""
    )
    return wrapped(
        ("No difference: " if not found.differs else "") + ", ".join(counts) + "." + apart
    )


def _causes(differences: Iterable[Difference]) -> dict[Cause, tuple[str, ...]]:
    """Each once, with all stages that it enters by: configuration and data first, then what has less of a name."""
    order = (
        "configuration",
        "seed",
        "data",
        "signature",
        "code",
        "versions",
        "hardware",
        "unknown",
    )
    found: dict[Cause, tuple[str, ...]] = {}
    for difference in differences:
        for cause, stages in difference.causes.items():
            found[cause] = tuple(dict.fromkeys((*found.get(cause, ()), *stages)))
    return {
        cause: found[cause] for cause in sorted(found, key=lambda cause: order.index(cause.kind))
    }


def _changed(found: Comparison, number: dict[Cause, int], cells: bool) -> str:
    of_row: dict[tuple[str, str], list[Difference]] = {}
    for difference in found.scores:
        of_row.setdefault((difference.system, difference.decoding), []).append(difference)
    lines = []
    for (system, decoding), differences in of_row.items():
        named = sorted(
            differences,
            key=lambda d: _HEADLINE.index(d.metric) if d.metric in _HEADLINE else len(_HEADLINE),
        )
        for shown in differences if cells else named[:1]:
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
        "± is half the 95 % interval. within: each side lies in the other's interval; beyond: neither does; partly: one does. A change "
        "within is not shown to be one; this is no test, for which per-image scores are needed (dsacap compare)."
    )
    return (
        "Changed"
        + ("" if cells else ", a line a row (--cells lists all)")
        + f"\n\n{_table(lines, headers)}\n\n{wrapped(legend)}"
    )


def _value(side: Side) -> str:
    return f"{side.value:.4g}" + (f" ± {side.half:.2g}" if side.half is not None else "")


def _named(found: Comparison, number: dict[Cause, int]) -> str:
    stages = _causes(found.scores)
    lines = []
    for cause, at in number.items():
        of = f" [{listed(stages[cause])}]" if stages[cause] else ""
        lines.append(wrapped(f"{at:>3}  {cause.kind:<14} {cause}{of}", indent=" " * 20))
    return (
        "Causes: all that differs in what made these cells, from the last stage on whose results were the same\n\n"
        + "\n".join(lines)
    )


def _only(table: Table, name: str, keys: list[tuple[str, str, str]]) -> str:
    """Whole rows by their name; single cells by their metric, with the rows that have it."""
    if not keys:
        return ""
    of_row: dict[tuple[str, str], list[str]] = {}
    for system, decoding, metric in keys:
        of_row.setdefault((system, decoding), []).append(metric)
    sizes = table.numbers.groupby(["system", "decoding"]).metric.nunique()
    whole = [row for row, metrics in of_row.items() if len(metrics) == sizes[row]]
    rows_with: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for row, metrics in of_row.items():
        if row not in whole:
            rows_with.setdefault(tuple(metrics), []).append(row)
    lines = [f"  {named}" for named in _rows(table, whole)]
    for metrics, rows in rows_with.items():
        lines.append(
            f"  of {'; '.join(_rows(table, rows)) if len(rows) <= _FEW else f'{len(rows)} rows'}: {', '.join(metrics)}"
        )
    return f"Only in {name}\n\n" + "\n".join(wrapped(line, indent="    ") for line in lines)


def _rows(table: Table, rows: list[tuple[str, str]]) -> list[str]:
    """A line a system, with its decodings."""
    of_system: dict[str, list[str]] = {}
    for system, decoding in rows:
        of_system.setdefault(system, []).extend([decoding] if decoding else [])
    return [
        f"{table.label(system)}: {' / '.join(of)}" if of else f"{table.label(system)} itself"
        for system, of in of_system.items()
    ]


def _measured(found: Comparison) -> str:
    if not found.measured:
        return ""
    lines = [f"Measured, apart: {len(found.measured)} differ, as they always do"]
    if found.machine:
        lines.append(
            wrapped(
                "Latency and memory are not comparable, another machine: "
                + "; ".join(map(str, found.machine)),
                indent="  ",
            )
        )
    else:
        lines += _ratios(found, "latency, median", lambda d: d.metric.startswith("latency_median"))
        lines += _ratios(found, "memory", lambda d: d.metric.startswith("memory"))
    lines += _ratios(found, "CPU seconds of training", lambda d: d.metric.endswith("_seconds"))
    return "\n".join(lines)


def _ratios(found: Comparison, name: str, wanted: Callable[[Difference], bool]) -> Iterator[str]:
    ratios = [d.new.value / d.old.value for d in found.measured if wanted(d) and d.old.value]
    if ratios:
        yield f"  {name}: B / A {median(ratios):.2f} in the median, {min(ratios):.2f} to {max(ratios):.2f}, of {len(ratios)} cells"


def _ranges(numbers: Iterable[int]) -> str:
    """1-3, 5"""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _table(rows: list[list], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
