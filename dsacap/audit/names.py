"""From what somebody types to a cell: keys or labels, in any case; a mistake is answered by the nearest names."""

import difflib
import re
from collections.abc import Callable, Iterable

from dsacap.common.errors import UserError
from dsacap.reporting.table_file import Table

_NEAR = 3


def find_system(table: Table, asked: str, others: Iterable[str] = ()) -> str:
    """The key of a system. UserError where there is none, or two are called so; `others` may be meant too."""
    names = {key: (key, table.label(key)) for key in dict.fromkeys(table.numbers.system)}
    found = [key for key, called in names.items() if _loose(asked) in map(_loose, called)]
    if len(found) > 1:
        raise UserError(
            f"{table.path}: {asked!r} is the label of {', '.join(found)}; give one of these keys"
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
    """The name of a metric that the system has. UserError where it has none such."""
    metrics = list(dict.fromkeys(table.numbers[table.numbers.system == system].metric))
    found = [metric for metric in metrics if _bare(metric) == _bare(asked)]
    if not found:
        raise UserError(
            f"{table.path}: {table.label(system)} has no {asked!r}; "
            + _suggest(asked, {m: m for m in metrics}, _bare)
        )
    return found[0]


def find_decoding(table: Table, system: str, metric: str, asked: str | None) -> str:
    """One of those that have the metric; the only one, where none is asked for. UserError lists them where there are several."""
    numbers = table.numbers[(table.numbers.system == system) & (table.numbers.metric == metric)]
    decodings = list(dict.fromkeys(numbers.decoding))
    listed = "; ".join(f'--decoding "{name}"' for name in decodings)
    if asked is None and len(decodings) > 1:
        raise UserError(
            f"{table.path}: {table.label(system)} has {metric} by {len(decodings)} decodings; say which: {listed}"
        )
    if asked is None or decodings == [""]:
        return decodings[0]
    found = [name for name in decodings if _tight(name) == _tight(asked)]
    if not found:
        raise UserError(
            f"{table.path}: {table.label(system)} has no {metric} by {asked!r}; it has: {listed}"
        )
    return found[0]


def _suggest(asked: str, names: dict[str, str], alike: Callable[[str], str]) -> str:
    """The nearest of `names` (as compared -> as shown), by spelling or because one holds the other; all, where none is near."""
    by_spelling = {alike(name): shown for name, shown in names.items()}
    near = difflib.get_close_matches(alike(asked), by_spelling, _NEAR, 0.6)
    near += [name for name in by_spelling if alike(asked) in name and name not in near]
    if near:
        return f"did you mean {' or '.join(_unique(by_spelling[name] for name in near))}?"
    return f"known: {', '.join(_unique(names.values()))}"


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _loose(name: str) -> str:
    """Without a dagger, in lower case, with single spaces."""
    return " ".join(name.replace("†", "").casefold().split())


def _tight(name: str) -> str:
    return "".join(name.casefold().split())


def _bare(name: str) -> str:
    """Letters and digits alone: ROUGE-L, rouge_l."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
