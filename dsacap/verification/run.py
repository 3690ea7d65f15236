"""The order in which tables are verified: data and rows on all cores, then a word on each table."""

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

_MOST_PROCESSES = 4  # each with a Java of 1 GB
_ROUNDING = (
    "Within the rounding of an earlier version: it scored the table, and its last digits depended\n"
    f"on the processor. Numbers may differ by {RELATIVE:g} of themselves, Self-CIDEr by {SELF_CIDER:g}."
)


def tables_in(results: Path) -> list[Path]:
    """Return every folder in `results` that holds a table.csv.

    Raises:
        UserError: There is none.
    """
    folders = sorted(path.parent for path in results.glob("*/table.csv"))
    if not folders:
        raise UserError(f"{results}: no folder with a table.csv; run this in a checkout")
    return folders


def verify(folders: Sequence[Path], spice: bool | None) -> bool:
    """Score the committed captions of tables again, and print how the cells compare.

    Args:
        folders: Each with table.csv, table.json and, in rows/, captions.
        spice: Whether SPICE is computed; None: where all captions have been parsed.

    Returns:
        Whether no cell differs.
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
    """Begin to make the captions of each data set; by the tables' folders, which may share one."""
    of_key: dict[str, Future] = {}
    for table in tables:
        if (key := table.layout.data.name) not in of_key:
            print(f"{table.folder}: making its data set again", file=sys.stderr)
            of_key[key] = pool.submit(scoring.make_captions, table.layout.config)
    return {table.folder: of_key[table.layout.data.name] for table in tables}


def _parse(tables: Sequence[Committed], data: dict[Path, Future]) -> None:
    """Parse for SPICE. What is parsed is kept at once: a killed run goes on where it stopped."""
    for table in tables:
        for row in table.rows():
            print(f"{table.folder}: parsing what is new of {row.name}", file=sys.stderr)
            captions = scoring.captions_of(data[table.folder].result(), row)
            caption_tuples(scoring.parsed_by_spice(*captions), download=True)


def _score(
    tables: Sequence[Committed],
    data: dict[Path, Future],
    spice: bool | None,
    pool: ProcessPoolExecutor,
) -> dict[Path, list[Scored]]:
    """Score all rows of all tables, each as soon as its data set is there."""
    rows = {table.folder: table.rows() for table in tables}
    found: dict[Path, list[Scored]] = defaultdict(list)
    folder_of: dict[Future, Path] = {}
    waiting = list(tables)
    with progress(None, "verify", "rows", total=sum(map(len, rows.values()))) as bar:
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
    return f"{table.folder}: not checked: {missing} is missing; put it there and run this again"
