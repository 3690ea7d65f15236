"""The verbs that work on finished tables.

`explain` shows what made a number, `diff` why two tables differ; `cite` and `crate` write what is
needed to cite and to archive a table.
"""

import argparse
import json
from pathlib import Path

from dsacap.cli.contents import Contents

_TABLE = "table.csv, table.json, or the folder that holds them"
_WITH_JSON = "table.csv with its table.json, or the folder that holds them"


def add_verbs(contents: Contents) -> None:
    """Add the verbs to the command line."""
    text = "show what made a number of a table, stage by stage, and whether that still holds here"
    explain = contents.add_parser("explain", text, run=_explain)
    explain.add_argument("table", type=Path, help=_TABLE)
    text = "key or label of a row, human, or a model that others report"
    explain.add_argument("--system", required=True, help=text)
    explain.add_argument("--decoding", help="the row's decoding; needed only if it has several")
    explain.add_argument("--metric", required=True, help="the metric, as table.csv names it")
    text = "compare with this configuration (default: config/NAME.yaml of the table)"
    explain.add_argument("--config", type=Path, help=text)

    text = "list the cells in which two tables differ, by how much, and why"
    status = f"{text}; exit status 0: none, 1: some, 2: an error"
    diff = contents.add_parser("diff", text, status, run=_diff)
    diff.add_argument("a", type=Path, help=_TABLE)
    text = (
        "another table; `git show COMMIT:results/scenes/table.json > old.json` gives an earlier "
        "one (default: the first is the newer one, and is compared with the committed table of its "
        "configuration)"
    )
    diff.add_argument("b", type=Path, nargs="?", help=text)
    text = "print two lines: how many quality cells differ and how far, and why"
    diff.add_argument("--brief", action="store_true", help=text)
    text = "list every changed cell instead of one line per row"
    diff.add_argument("--cells", action="store_true", help=text)

    text = "write the BibTeX entry and the LaTeX form of a table next to it, and print the entry"
    cite = contents.add_parser("cite", text, run=_cite)
    cite.add_argument("table", type=Path, help=_WITH_JSON)
    text = "pack the run behind a table as a Workflow Run RO-Crate, for an archive"
    crate = contents.add_parser("crate", text, run=_crate)
    crate.add_argument("table", type=Path, help=_WITH_JSON)
    text = "a folder or .zip that does not exist yet"
    crate.add_argument("--output", type=Path, required=True, help=text)
    for sub in (explain, diff):
        sub.add_argument("--json", action="store_true", help="print JSON, for machines")


def _explain(options: argparse.Namespace) -> int:
    """Print the chain from a cell to what made it."""
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
        text = json.dumps(found, ensure_ascii=False, indent=1) if options.json else render(found)
    print(text)
    return 0


def _diff(options: argparse.Namespace) -> int:
    """Print how two tables differ; return 1 if they do."""
    from dsacap.audit.brief import committed_place, render_brief
    from dsacap.audit.compare import compare
    from dsacap.audit.diff import as_json, render
    from dsacap.reporting.table_file import load_table, reporting_malformed

    old, new = options.a, options.b
    if new is None:
        old, new = committed_place(load_table(options.a)), options.a
        if not (old / "table.json").exists():
            print(
                f"{new}: no table of the same configuration is committed in {old}, "
                "so there is nothing to compare with."
            )
            return 0
    with reporting_malformed(old, new):
        found = compare(load_table(old), load_table(new))
        if options.json:
            text = json.dumps(as_json(found), ensure_ascii=False, indent=1)
        else:
            text = render_brief(found) if options.brief else render(found, cells=options.cells)
    print(text)
    return int(found.differs)


def _cite(options: argparse.Namespace) -> int:
    """Write table.bib and table.tex, and print the entry."""
    from dsacap.common.files import read_text
    from dsacap.common.outputs import print_written
    from dsacap.reporting.citation import write_citation
    from dsacap.reporting.table_file import load_table

    csv = (
        options.table / "table.csv" if options.table.is_dir() else options.table.with_suffix(".csv")
    )
    write_citation(load_table(csv))
    print(read_text(csv.with_suffix(".bib")), end="")
    print_written([csv.with_suffix(".bib"), csv.with_suffix(".tex")])
    return 0


def _crate(options: argparse.Namespace) -> int:
    """Pack a run."""
    from dsacap.audit.crate import write_crate

    write_crate(options.table, options.output)
    print(f"packed in {options.output}")
    return 0
