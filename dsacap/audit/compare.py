"""The comparison of two tables, cell by cell: what changed, by how much, and for which causes.

A cell is what a table shows: the mean over the seeds of a row's metric. Numbers that were measured
on a machine (latency, memory, CPU seconds) are kept apart, since they never come out the same.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dsacap.audit.cause import ABSENT, Cause
from dsacap.audit.causes import causes_of, wrote_the_same
from dsacap.audit.chain import chain, is_measured
from dsacap.reporting.table_file import Table

_ROUNDING = 1e-9  # allows for the decimals of a CSV, not for other scores


@dataclass(frozen=True)
class Side:
    """A cell in one table.

    Attributes:
        value: The mean over its seeds.
        half: The mean over its seeds of half the 95 % interval; None if there is no interval.
        seeds: Its seeds.
    """

    value: float
    half: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """A cell that both tables have and that differs.

    Attributes:
        system: The key of its system.
        decoding: The name of its decoding.
        metric: Its metric.
        old: The cell in the old table.
        new: The cell in the new table.
        causes: Every cause that may explain the difference -> the stages that it affects.
    """

    system: str
    decoding: str
    metric: str
    old: Side
    new: Side
    causes: dict[Cause, tuple[str, ...]]

    @property
    def change(self) -> float:
        """The new value minus the old one."""
        return self.new.value - self.old.value

    @property
    def against(self) -> str:
        """The change compared with the two 95 % intervals.

        `beyond`: neither value lies in the other's interval. `within`: both do. `partly`: one does.
        `-`: there is no interval.
        """
        half_old, half_new = self.old.half, self.new.half
        if half_old is None or half_new is None:
            return "-"
        outside = [abs(self.change) > half for half in (half_old, half_new)]
        return "beyond" if all(outside) else "partly" if any(outside) else "within"


@dataclass(frozen=True)
class Comparison:
    """The differences between two tables.

    Attributes:
        old: The old table.
        new: The new table.
        same: How many cells are equal.
        scores: Cells that differ, without those measured on a machine.
        measured: Cells measured on a machine that differ. They do not count as a difference, nor
            do such cells that only one table has.
        only_old: Cells (system, decoding, metric) that only the old table has.
        only_new: Cells that only the new table has.
        machine: Differences between the two machines, which make `measured` not comparable.
    """

    old: Table
    new: Table
    same: int
    scores: list[Difference]
    measured: list[Difference]
    only_old: list[tuple[str, str, str]]
    only_new: list[tuple[str, str, str]]
    machine: list[Cause]

    @property
    def differs(self) -> bool:
        """Whether cells differ or are in one table only, apart from those measured on a machine."""
        return bool(self.scores) or not all(
            is_measured(metric) for *_, metric in (*self.only_old, *self.only_new)
        )


def compare(old: Table, new: Table) -> Comparison:
    """Compare all cells of two tables.

    Args:
        old: The one table.
        new: The other table. The stages behind a cell are taken from its configuration.

    Returns:
        What differs, with the causes of each difference.
    """
    a, b = cells_of(old), cells_of(new)
    shared = [key for key in a if key in b]
    changed = [key for key in shared if not _equal(a[key], b[key])]
    found = [
        Difference(*key, a[key], b[key], _causes(old, new, key, a[key], b[key])) for key in changed
    ]
    time_old, time_new = (side.manifests.get("time") for side in (old, new))
    machine = []
    if time_old and time_new:
        causes = causes_of("time", time_old, time_new, "", timed=True)
        machine = [cause for cause in causes if cause.kind == "hardware"]
    return Comparison(
        old,
        new,
        len(shared) - len(changed),
        [difference for difference in found if not is_measured(difference.metric)],
        [difference for difference in found if is_measured(difference.metric)],
        [key for key in a if key not in b],
        [key for key in b if key not in a],
        machine,
    )


def cells_of(table: Table) -> dict[tuple[str, str, str], Side]:
    """Return (system, decoding, metric) -> mean over seeds, in the order of the table."""
    cells = {}
    for key, rows in table.numbers.groupby(["system", "decoding", "metric"], sort=False):
        halves = (rows.ci_high - rows.ci_low) / 2
        seeds = tuple(int(seed) for seed in sorted(rows.seed.dropna()))
        cells[key] = Side(
            float(rows.value.mean()), float(halves.mean()) if halves.notna().all() else None, seeds
        )
    return cells


def _equal(a: Side, b: Side) -> bool:
    """Compare values, and intervals if both sides have them.

    Other references may leave the score as it is and move its interval.
    """
    halves = (0.0, 0.0) if a.half is None or b.half is None else (a.half, b.half)
    return a.seeds == b.seeds and all(
        math.isclose(x, y, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
        for x, y in ((a.value, b.value), halves)
    )


def _causes(
    old: Table, new: Table, key: tuple[str, str, str], a: Side, b: Side
) -> dict[Cause, tuple[str, ...]]:
    found: dict[Cause, tuple[str, ...]] = {}
    for cause, stage in _all_causes(old, new, key, a, b):
        found[cause] = (*found.get(cause, ()), stage)
    return found or {Cause("unknown", _nothing_found(old, new), "", ""): ()}


def _nothing_found(old: Table, new: Table) -> str:
    without = [str(side.path) for side in (old, new) if not side.manifests]
    return (
        f"no manifests next to {' and '.join(without)}, so the causes are unknown"
        if without
        else "nothing that the manifests record differs"
    )


def _all_causes(
    old: Table, new: Table, key: tuple[str, str, str], a: Side, b: Side
) -> Iterator[tuple[Cause, str]]:
    _, decoding, metric = key
    if a.seeds != b.seeds:
        yield (
            Cause(
                "seed",
                "seeds of the row",
                *(", ".join(map(str, side.seeds)) or "none" for side in (a, b)),
            ),
            "table",
        )
    signature_old, signature_new = (side.signature(metric) for side in (old, new))
    if signature_old is not None and signature_new is not None and signature_old != signature_new:
        yield from ((cause, "score") for cause in _signature_causes(signature_old, signature_new))
    shared = [
        stage for stage in chain(new, *key) if all(stage in side.manifests for side in (old, new))
    ]
    for stage in _after_the_last_equal(old, new, shared):
        manifests, timed = (old.manifests[stage], new.manifests[stage]), stage == "time"
        yield from ((cause, stage) for cause in causes_of(stage, *manifests, decoding, timed=timed))


def _after_the_last_equal(old: Table, new: Table, stages: list[str]) -> list[str]:
    """Return the stages after the last one that wrote the same files on both sides.

    The data stage is among them unless it is equal itself, since training and scores read the data
    directly.
    """
    same = [
        at
        for at, stage in enumerate(stages)
        if wrote_the_same(old.manifests[stage], new.manifests[stage])
    ]
    last = max((at for at in same if stages[at] != "data"), default=-1)
    return [
        stage
        for at, stage in enumerate(stages)
        if (at > last or stage == "data") and at not in same
    ]


def _signature_causes(old: str, new: str) -> Iterator[Cause]:
    """Yield the fields of two signatures that differ, apart from `v`, this package's release."""
    a, b = (
        dict(field.partition(":")[::2] for field in signature.split("|")[1:])
        for signature in (old, new)
    )
    for field in dict.fromkeys([*a, *b]):
        if field != "v" and a.get(field) != b.get(field):
            yield Cause("signature", field, a.get(field, ABSENT), b.get(field, ABSENT))
