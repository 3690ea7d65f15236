"""A two-line comparison of a new table with the committed one, for the end of `make table`."""

from collections.abc import Iterable
from pathlib import Path

from dsacap.audit.cause import Cause
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
    """Return the folder of the committed table of the same configuration, which bears its name.

    Args:
        table: A table as `dsacap report` wrote it.
    """
    return (table.path if table.path.is_dir() else table.path.parent) / table.name


def render_brief(found: Comparison) -> str:
    """Return two lines on how many quality cells are equal, how far off the others are, and why.

    The second line also has the command that prints the full comparison.
    """
    shared = cells_of(found.old).keys() & cells_of(found.new).keys()
    total = sum(is_quality(metric) for *_, metric in shared)
    differ = [difference for difference in found.scores if is_quality(difference.metric)]
    numbers = {name: sum(d.against == name for d in differ) for name in _AGAINST}
    counts = [
        f"{numbers[name]} differ {phrase}" for name, phrase in _AGAINST.items() if numbers[name]
    ]
    unshared = [key for key in (*found.only_old, *found.only_new) if is_quality(key[2])]
    only_in_one = f" {len(unshared)} more are in one table only." if unshared else ""
    equal = f"{total - len(differ)} of {total} quality cells are equal"
    causes = dict.fromkeys(cause for difference in differ for cause in difference.causes)
    rest = f"For the full comparison, run `dsacap diff {found.old.path} {found.new.path}`."
    lines = [
        f"Compared with {found.old.path}: {', '.join([equal, *counts])}.{only_in_one}",
        f"Causes: {_listed(causes)}. {rest}" if differ else f"No score differs. {rest}",
    ]
    return "\n".join(map(wrapped, lines))


def _listed(causes: Iterable[Cause]) -> str:
    """Return every kind of cause that occurs, with the first few causes of that kind."""
    by_kind: dict[str, list[str]] = {}
    for cause in causes:
        by_kind.setdefault(cause.kind, []).append(_short(cause))
    parts = []
    for kind, label in _KINDS.items():
        if names := list(dict.fromkeys(by_kind.get(kind, ()))):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{label} ({', '.join(names[:_SHOWN])}{more})")
    return ", ".join(parts)


def _short(cause: Cause) -> str:
    """Return the values of a code or hardware cause, the name of others, and both for versions."""
    changed = f"{cause.old} -> {cause.new}"
    if cause.kind in ("hardware", "code"):
        return changed
    return f"{cause.what} {changed}" if cause.kind == "versions" else cause.what
