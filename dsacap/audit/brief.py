"""Two lines on how a new table compares with the committed one: what `make table` ends with."""

from collections.abc import Iterable
from pathlib import Path

from dsacap.audit.causes import Cause
from dsacap.audit.chain import is_quality
from dsacap.audit.compare import Comparison, cells_of
from dsacap.audit.text import wrapped
from dsacap.reporting.table_file import Table

_SHOWN = 3
_AGAINST = {
    "within": "within both intervals",
    "partly": "within one of the two intervals",
    "beyond": "beyond both intervals",
    "-": "and have no interval",
}
_KINDS = {
    "hardware": "processor",
    "versions": "versions",
    "code": "code",
    "configuration": "configuration",
    "seed": "seeds",
    "data": "data",
    "signature": "signatures",
    "unknown": "unknown",
}


def committed_place(table: Table) -> Path:
    """Return where the committed table of the same configuration lies: in a folder of its name.

    Args:
        table: A table as `dsacap report` wrote it.
    """
    return (table.path if table.path.is_dir() else table.path.parent) / table.name


def render_brief(found: Comparison) -> str:
    """Return how many quality cells are equal, how far off the others are, and why."""
    shared = cells_of(found.old).keys() & cells_of(found.new).keys()
    total = sum(is_quality(metric) for *_, metric in shared)
    differ = [difference for difference in found.scores if is_quality(difference.metric)]
    numbers = {name: sum(d.against == name for d in differ) for name in _AGAINST}
    counts = [f"{numbers[name]} differ {said}" for name, said in _AGAINST.items() if numbers[name]]
    lonely = [key for key in (*found.only_old, *found.only_new) if is_quality(key[2])]
    alone = f" {len(lonely)} more are in one table only." if lonely else ""
    equal = f"{total - len(differ)} of {total} quality cells are equal"
    causes = dict.fromkeys(cause for difference in differ for cause in difference.causes)
    rest = f"`dsacap diff {found.old.path} {found.new.path}` tells the rest."
    lines = [
        f"Compared with {found.old.path}: {', '.join([equal, *counts])}.{alone}",
        f"Causes: {_listed(causes)}. {rest}" if differ else f"No score differs. {rest}",
    ]
    return "\n".join(map(wrapped, lines))


def _listed(causes: Iterable[Cause]) -> str:
    """Every kind of cause, with the first few of its kind."""
    of_kind: dict[str, list[str]] = {}
    for cause in causes:
        of_kind.setdefault(cause.kind, []).append(_short(cause))
    parts = []
    for kind, called in _KINDS.items():
        if names := list(dict.fromkeys(of_kind.get(kind, ()))):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{called} ({', '.join(names[:_SHOWN])}{more})")
    return ", ".join(parts)


def _short(cause: Cause) -> str:
    """Of code the commits alone, of hardware the machines, of all else the name."""
    changed = f"{cause.old} -> {cause.new}"
    if cause.kind in ("hardware", "code"):
        return changed
    return f"{cause.what} {changed}" if cause.kind == "versions" else cause.what
