"""The order of work of a verification: data and rows on all cores, then a report on each table."""

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.progress import progress
from dsacap.scoring.metrics.spice import caption_tuples
from dsacap.verification import scoring
from dsacap.verification.committed import Committed, load_committed
from dsacap.verification.comparison import RELATIVE, SELF_CIDER, compare, render
from dsacap.verification.scoring import Scored

_MOST_PROCESSES = 4  # each of them runs a Java of 1 GB
_ROUNDING = (
    "Within the rounding of an earlier version: that version scored the table, and its last\n"
    f"digits depended on the processor. Relative differences up to {RELATIVE:g} are accepted,"
    f" and\nabsolute ones up to {SELF_CIDER:g} for Self-CIDEr."
)


def tables_in(results: Path) -> list[Path]:
    """Return every folder in `results` that holds a table.csv.

    Raises:
        UserError: There are none.
    """
    patterns = ("*/table.csv", "*/*/table.csv")
    folders = sorted(path.parent for pattern in patterns for path in results.glob(pattern))
    if not folders:
        raise UserError(
            f"{results}: no folder with a table.csv; run this at the root of a checkout"
        )
    return folders


def verify(folders: Sequence[Path], spice: bool | None) -> bool:
    """Score the committed captions of tables again, and print how the cells compare.

    Args:
        folders: Folders with table.csv, table.json and, in rows/, captions.
        spice: Whether SPICE is computed; None: only for rows whose captions were parsed before.

    Returns:
        True if no cell differs.
    """
    tables = [load_committed(folder) for folder in folders]
    ready = [table for table in tables if not table.missing_files()]
    scored = _score_all(ready, spice)
    outcomes = {table.folder: compare(table, scored[table.folder]) for table in ready}
    for table in tables:
        outcome = outcomes.get(table.folder)
        print(render(table, outcome) if outcome else _not_checked(table))
    if any(outcome.rounded for outcome in outcomes.values()):
        print(_ROUNDING)
    return not any(outcome.differ for outcome in outcomes.values())


def _score_all(tables: Sequence[Committed], spice: bool | None) -> dict[Path, list[Scored]]:
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    with ProcessPoolExecutor(processes, get_context("spawn"), scoring.begin_worker) as pool:
        try:
            data = _make_data(tables, pool)
            if spice:
                _parse(tables, data)
            return _score(tables, data, spice, pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make_data(tables: Sequence[Committed], pool: ProcessPoolExecutor) -> dict[Path, Future]:
    """Start rebuilding the captions of each data set; tables may share one.

    Returns:
        The folder of each table -> a future of the folder of its data set.
    """
    by_data: dict[str, Future] = {}
    for table in tables:
        if (key := table.layout.data.name) not in by_data:
            print(f"{table.folder}: rebuilding the captions of its data set", file=sys.stderr)
            by_data[key] = pool.submit(scoring.make_captions, table.layout.config)
    return {table.folder: by_data[table.layout.data.name] for table in tables}


def _parse(tables: Sequence[Committed], data: dict[Path, Future]) -> None:
    """Parse captions for SPICE. They are cached at once, so a killed run continues from there."""
    for table in tables:
        for row in table.rows():
            if not scoring.has_spice(table.layout.config, row):
                continue
            print(f"{table.folder}: parsing new captions of {row.name}", file=sys.stderr)
            captions = scoring.captions_of(data[table.folder].result(), row)
            caption_tuples(scoring.parsed_by_spice(*captions), download=True)


def _score(
    tables: Sequence[Committed],
    data: dict[Path, Future],
    spice: bool | None,
    pool: ProcessPoolExecutor,
) -> dict[Path, list[Scored]]:
    """Score all rows of all tables, each as soon as its data set is ready."""
    rows = {table.folder: table.rows() for table in tables}
    found: dict[Path, list[Scored]] = defaultdict(list)
    folder_of: dict[Future, Path] = {}
    waiting = list(tables)
    with progress(None, "verify", "row", total=sum(map(len, rows.values()))) as bar:
        while waiting or folder_of:
            futures = [*folder_of, *(data[table.folder] for table in waiting)]
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for table in [table for table in waiting if data[table.folder] in done]:
                waiting.remove(table)
                folder = data[table.folder].result()
                for row in rows[table.folder]:
                    job = pool.submit(scoring.score_row, table.layout.config, folder, row, spice)
                    folder_of[job] = table.folder
            for future in done & folder_of.keys():
                found[folder_of.pop(future)].append(future.result())
                bar.update(1)
    return found


def _not_checked(table: Committed) -> str:
    missing = ", ".join(map(str, table.missing_files()))
    return (
        f"{table.folder}: not checked: files of the data set are missing: {missing};"
        " add them and run this again"
    )
