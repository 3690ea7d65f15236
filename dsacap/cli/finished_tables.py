"""Finished tables, asked: what made this number (`dsacap explain`), why two tables differ (`dsacap diff`), how one is cited."""

import argparse
import json
from pathlib import Path

_TABLE = "table.csv, table.json, or the folder that holds them"


def add_verbs(verbs) -> None:
    """Their command line."""
    explain = verbs.add_parser(
        "explain",
        help="what made a number of a table, stage by stage, and whether that still holds here",
    )
    explain.add_argument("table", type=Path, help=_TABLE)
    explain.add_argument(
        "--system",
        required=True,
        help="key or label of a row, human, or a model that others report",
    )
    explain.add_argument("--decoding", help="of that row; only where it has several")
    explain.add_argument("--metric", required=True, help="as in table.csv")
    explain.add_argument(
        "--config",
        type=Path,
        help="compare with this configuration (default: config/NAME.yaml of the table)",
    )
    explain.set_defaults(run=_explain)
    text = "which cells of two tables differ, by how much, and why"
    diff = verbs.add_parser(
        "diff", help=text, description=f"{text}; exit status 0: none, 1: some, 2: trouble"
    )
    diff.add_argument("a", type=Path, help=_TABLE)
    another = "another; `git show COMMIT:results/scenes/table.json > old.json` has one of before (default: the first is the newer one, "
    another += "and is compared with the committed table of its configuration)"
    diff.add_argument("b", type=Path, nargs="?", help=another)
    diff.add_argument(
        "--brief",
        action="store_true",
        help="two lines: how many quality cells differ and how far, and why",
    )
    diff.add_argument(
        "--cells", action="store_true", help="list every changed cell, not a line a row"
    )
    diff.set_defaults(run=_diff)
    cite = verbs.add_parser(
        "cite",
        help="write the BibTeX entry and the LaTeX rendering of a table beside it, and print how to cite it",
    )
    cite.add_argument(
        "table", type=Path, help="table.csv with its table.json, or the folder that holds them"
    )
    cite.set_defaults(run=_cite)
    crate = verbs.add_parser(
        "crate", help="pack the run behind a table as a Workflow Run RO-Crate, for an archive"
    )
    crate.add_argument(
        "table", type=Path, help="table.csv with its table.json, or the folder that holds them"
    )
    crate.add_argument(
        "--output", type=Path, required=True, help="a folder or .zip that is not there yet"
    )
    crate.set_defaults(run=_crate)
    for asking in (explain, diff):
        asking.add_argument("--json", action="store_true", help="print JSON, for machines")


def _explain(options: argparse.Namespace) -> bool:
    """Prints the chain from a cell to what made it; all is well."""
    from dsacap.audit.explain import explain, render
    from dsacap.reporting.table_file import load_table, reporting_malformed

    with reporting_malformed(options.table):
        found = explain(
            load_table(options.table),
            options.system,
            options.decoding,
            options.metric,
            options.config,
        )
        said = json.dumps(found, ensure_ascii=False, indent=1) if options.json else render(found)
    print(said)
    return True


def _diff(options: argparse.Namespace) -> bool:
    """Prints how two tables differ; whether they do not."""
    from dsacap.audit.brief import committed_place, render_brief
    from dsacap.audit.compare import compare
    from dsacap.audit.diff import as_json, render
    from dsacap.reporting.table_file import load_table, reporting_malformed

    old, new = options.a, options.b
    if new is None:
        old, new = committed_place(load_table(options.a)), options.a
        if not (old / "table.json").exists():
            print(
                f"{new}: no table of the same configuration is committed in {old}, so there is nothing to compare with."
            )
            return True
    with reporting_malformed(old, new):
        found = compare(load_table(old), load_table(new))
        if options.json:
            said = json.dumps(as_json(found), ensure_ascii=False, indent=1)
        else:
            said = render_brief(found) if options.brief else render(found, cells=options.cells)
    print(said)
    return not found.differs


def _cite(options: argparse.Namespace) -> bool:
    """Writes table.bib and table.tex, and prints the entry; all is well."""
    from dsacap.common.files import read_text
    from dsacap.reporting.citation import write_citation
    from dsacap.reporting.table_file import load_table

    csv = (
        options.table / "table.csv" if options.table.is_dir() else options.table.with_suffix(".csv")
    )
    write_citation(load_table(csv))
    print(read_text(csv.with_suffix(".bib")), end="")
    return True


def _crate(options: argparse.Namespace) -> bool:
    """Packs a run; all is well."""
    from dsacap.audit.crate import write_crate

    write_crate(options.table, options.output)
    print(f"packed in {options.output}")
    return True
