"""Two tables, cell by cell: which numbers changed, by how much against their intervals, and what that has to do with.

A cell is what a table shows: the mean over the seeds of a row's metric. What was measured on a machine (latency, memory, CPU seconds) is
told apart: it never comes out the same.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dsacap.audit.causes import ABSENT, Cause, causes_of, wrote_the_same
from dsacap.audit.chain import chain, is_measured
from dsacap.reporting.table_file import Table

_ROUNDING = 1e-9  # of a CSV's decimals; the scores themselves are compared to the last digit


@dataclass(frozen=True)
class Side:
    """A cell in one table: the mean over its seeds, and that of the 95 % intervals' halves, where there are any."""

    value: float
    half: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """A cell that both tables have and that is not the same; `causes` pairs each cause with the stages that it enters by."""

    system: str
    decoding: str
    metric: str
    old: Side
    new: Side
    causes: dict[Cause, tuple[str, ...]]

    @property
    def change(self) -> float:
        return self.new.value - self.old.value

    @property
    def against(self) -> str:
        """beyond: neither side lies in the other's interval; within: both do; partly: one does; `-`: there is no interval."""
        if self.old.half is None or self.new.half is None:
            return "-"
        outside = [abs(self.change) > side.half for side in (self.old, self.new)]
        return "beyond" if all(outside) else "partly" if any(outside) else "within"


@dataclass(frozen=True)
class Comparison:
    """`only_old` and `only_new` are cells (system, decoding, metric) that one side alone has. `measured` are differences of what was
    measured on a machine, which do not count; nor do such cells of one side. `machine` are the causes that make them not comparable."""

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
        return bool(self.scores) or not all(
            is_measured(metric) for *_, metric in (*self.only_old, *self.only_new)
        )


def compare(old: Table, new: Table) -> Comparison:
    """All cells of two tables."""
    a, b = cells_of(old), cells_of(new)
    shared = [key for key in a if key in b]
    changed = [key for key in shared if not _equal(a[key], b[key])]
    found = [
        Difference(*key, a[key], b[key], _causes(old, new, key, a[key], b[key])) for key in changed
    ]
    clocks = [side.manifests.get("time") for side in (old, new)]
    machine = (
        [cause for cause in causes_of("time", *clocks, "", timed=True) if cause.kind == "hardware"]
        if all(clocks)
        else []
    )
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
    """(system, decoding, metric) -> mean over seeds, in the table's order."""
    cells = {}
    for key, rows in table.numbers.groupby(["system", "decoding", "metric"], sort=False):
        halves = (rows.ci_high - rows.ci_low) / 2
        seeds = tuple(int(seed) for seed in sorted(rows.seed.dropna()))
        cells[key] = Side(
            float(rows.value.mean()), float(halves.mean()) if halves.notna().all() else None, seeds
        )
    return cells


def _equal(a: Side, b: Side) -> bool:
    """Intervals count where both sides have them: other references may leave the score and move its interval."""
    halves = (a.half, b.half) if None not in (a.half, b.half) else (0.0, 0.0)
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
    bare = [str(side.path) for side in (old, new) if not side.manifests]
    return (
        f"no manifests beside {' and '.join(bare)}, so nobody can tell"
        if bare
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
    signatures = [side.signature(metric) for side in (old, new)]
    if None not in signatures and signatures[0] != signatures[1]:
        yield from ((cause, "score") for cause in _of_signatures(*signatures))
    shared = [
        stage for stage in chain(new, *key) if all(stage in side.manifests for side in (old, new))
    ]
    for stage in _since_the_same(old, new, shared):
        manifests, timed = (old.manifests[stage], new.manifests[stage]), stage == "time"
        yield from ((cause, stage) for cause in causes_of(stage, *manifests, decoding, timed=timed))


def _since_the_same(old: Table, new: Table, stages: list[str]) -> list[str]:
    """Those after the last one that wrote the same files on both sides; scores and training are of the data directly, which stay among them
    unless they are the same themselves."""
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


def _of_signatures(old: str, new: str) -> Iterator[Cause]:
    """Fields of two signatures that differ; the release of this package is none of the score."""
    a, b = (
        dict(field.partition(":")[::2] for field in signature.split("|")[1:])
        for signature in (old, new)
    )
    for field in dict.fromkeys([*a, *b]):
        if field != "v" and a.get(field) != b.get(field):
            yield Cause("signature", field, a.get(field, ABSENT), b.get(field, ABSENT))
