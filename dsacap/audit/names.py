"""Finding the cell that a user asks for.

Systems can be given by key or by label, in any case. Errors suggest the most similar names.
"""

import difflib
import re
from collections.abc import Callable, Iterable

from dsacap.common.errors import UserError
from dsacap.reporting.table_file import Table

_NEAR = 3


def find_system(table: Table, asked: str, others: Iterable[str] = ()) -> str:
    """Find a system by its key or label.

    Args:
        table: The table.
        asked: What the user typed.
        others: Further names to suggest, such as models that only others report.

    Returns:
        The key of the system.

    Raises:
        UserError: No system has this name, or several have this label.
    """
    names = {key: (key, table.label(key)) for key in dict.fromkeys(table.numbers.system)}
    found = [key for key, aliases in names.items() if _loose(asked) in map(_loose, aliases)]
    if len(found) > 1:
        raise UserError(
            f"{table.path}: {asked!r} is the label of several systems;"
            f" give one of their keys: {', '.join(found)}"
        )
    if found:
        return found[0]
    shown = {
        name: f"{label} ({key})" if label != key else key
        for key, label in names.values()
        for name in (key, label)
    }
    shown |= {name: f"{name} (reported)" for name in others if name not in shown}
    raise UserError(f"{table.path}: no system {asked!r}; " + _suggest(asked, shown, _loose))


def find_metric(table: Table, system: str, asked: str) -> str:
    """Find a metric of a system by its name.

    Args:
        table: The table.
        system: The key of the system.
        asked: What the user typed. Only its letters and digits are compared.

    Returns:
        The name of the metric in the table.

    Raises:
        UserError: The system has no such metric.
    """
    metrics = list(dict.fromkeys(table.numbers[table.numbers.system == system].metric))
    found = [metric for metric in metrics if _bare(metric) == _bare(asked)]
    if not found:
        raise UserError(
            f"{table.path}: {table.label(system)} has no metric {asked!r}; "
            + _suggest(asked, {m: m for m in metrics}, _bare)
        )
    return found[0]


def find_decoding(table: Table, system: str, metric: str, asked: str | None) -> str:
    """Find a decoding of a system by its name.

    Args:
        table: The table.
        system: The key of the system.
        metric: A metric. Only decodings that have it are considered.
        asked: What the user typed; None for the only decoding there is.

    Returns:
        The name of the decoding in the table.

    Raises:
        UserError: There is no such decoding, or none was asked for and there are several. The
            message lists them.
    """
    numbers = table.numbers[(table.numbers.system == system) & (table.numbers.metric == metric)]
    decodings = list(dict.fromkeys(numbers.decoding))
    listed = "; ".join(f'--decoding "{name}"' for name in decodings)
    if asked is None and len(decodings) > 1:
        raise UserError(
            f"{table.path}: {table.label(system)} has {metric} for {len(decodings)} decodings;"
            f" choose one: {listed}"
        )
    if asked is None or decodings == [""]:
        return decodings[0]
    found = [name for name in decodings if _tight(name) == _tight(asked)]
    if not found:
        raise UserError(
            f"{table.path}: {table.label(system)} has no {metric} for the decoding {asked!r};"
            f" choose one: {listed}"
        )
    return found[0]


def _suggest(asked: str, names: dict[str, str], normalize: Callable[[str], str]) -> str:
    """Return a hint with the names most similar to `asked`, or with all names if none is similar.

    A name is similar if its spelling is close, or if it contains `asked`. `names` maps the names
    that are compared, after `normalize`, to the names that are shown.
    """
    by_spelling = {normalize(name): shown for name, shown in names.items()}
    near = difflib.get_close_matches(normalize(asked), by_spelling, _NEAR, 0.6)
    near += [name for name in by_spelling if normalize(asked) in name and name not in near]
    if near:
        return f"did you mean {' or '.join(_unique(by_spelling[name] for name in near))}?"
    return f"known: {', '.join(_unique(names.values()))}"


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _loose(name: str) -> str:
    """Return a name without a dagger, in lower case, with single spaces."""
    return " ".join(name.replace("†", "").casefold().split())


def _tight(name: str) -> str:
    return "".join(name.casefold().split())


def _bare(name: str) -> str:
    """Return the letters and digits of a name, so that rouge_l equals ROUGE-L."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
