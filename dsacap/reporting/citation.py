"""How a table is cited: its version, a BibTeX entry (table.bib) and a LaTeX rendering (table.tex), made from the table's own files.

The version is the release whose metrics scored it, and the first digits of table.csv's SHA-256: `0.1.0+1a2b3c4d`. Whoever holds the file
can check it, and two tables that differ in one digit have two versions.
"""

import re
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from tabulate import LATEX_ESCAPE_RULES, tabulate

from dsacap.common.errors import UserError
from dsacap.common.files import read_text, sha256, write_text
from dsacap.common.git_checkout import ROOT
from dsacap.config.experiment import parse_config
from dsacap.reporting.markdown import (
    BESIDE_HUMANS,
    DIVERSITY,
    QUALITY,
    Cells,
    Report,
    latency_cells,
    latency_title,
    metric_cells,
    training_cells,
)
from dsacap.reporting.table_file import Table, load_table

CITATION = ROOT / "CITATION.cff"
_MATHS = {"±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$"}  # as text they need a font encoding
_FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}"
_DIGITS = 12  # of hashes, which a reference list has to break
_RELEASE = re.compile(r"\|v:([^|]+)")


def write_citation(csv: Path) -> str:
    """Writes table.bib and table.tex beside a table.csv; its version. UserError where its manifests are not beside it."""
    table = load_table(csv)
    if not table.manifests:
        raise UserError(
            f"{csv}: no table.json beside it, which says what the table was made by; it cannot be cited without"
        )
    named = table_version(csv, table)
    write_text(csv.with_suffix(".bib"), bibtex(table, named))
    write_text(csv.with_suffix(".tex"), latex(table, named))
    return named


def table_version(csv: Path, table: Table) -> str:
    """`0.1.0+1a2b3c4d`"""
    releases = {
        found[1] for signature in table.signatures.values() if (found := _RELEASE.search(signature))
    }
    return f"{max(releases, default=version('dsacap-bench'))}+{sha256(csv)[:8]}"


def bibtex(table: Table, named: str) -> str:
    """The entry of one table. A URL stands in it where CITATION.cff has one."""
    project = citation()
    made = max(datetime.fromisoformat(manifest["started"]) for manifest in table.manifests.values())
    commits = dict.fromkeys(
        (manifest["code"]["commit"] or "unknown")[:_DIGITS] for manifest in table.manifests.values()
    )
    fields = {
        "author": " and ".join(_author(author) for author in project["authors"]),
        "title": f"{{{escaped(f'dsacap-bench, table of {table.name}: image captioners measured alike')}}}",
        "year": f"{made:%Y}",
        "version": escaped(named),
        "note": f"Version {escaped(named)}, made by commit {', '.join(commits)}",  # most styles leave `version` out
    }
    if url := project.get("url") or project.get("repository-code"):
        fields["url"] = url
    lines = [f"  {key:<8} = {{{value}}}," for key, value in fields.items()]
    return (
        "\n".join(
            [
                f"@misc{{{key_of(table, named)},",
                *lines,
                f"  month    = {f'{made:%b}'.lower()},",
                "}",
            ]
        )
        + "\n"
    )


def key_of(table: Table, named: str) -> str:
    """By which a table is cited."""
    return f"dsacap-bench-{table.name}-{named.rpartition('+')[2]}"


def citation() -> dict[str, Any]:
    """CITATION.cff. UserError where the package does not run from its checkout."""
    return yaml.safe_load(read_text(CITATION))


def _author(author: dict[str, str]) -> str:
    """A group's name in braces of its own, so that BibTeX does not take it apart."""
    if "name" in author:
        return f"{{{escaped(author['name'])}}}"
    return escaped(f"{author['family-names']}, {author['given-names']}")


def escaped(text: str) -> str:
    """For LaTeX."""
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)


def latex(table: Table, named: str) -> str:
    """The main sections as floats of their own, each to be taken or left, no wider than the text. Needs booktabs and graphicx."""
    config = parse_config(table.config, f"{table.path}: its configuration")
    report = Report(config, table.numbers, table.manifests, list(table.signatures.values()), None)
    n = table.numbers[table.numbers.metric == "CIDEr"].n.max()
    images = f"{n:.0f} images" if n == n else "the test split"
    seeds = "one seed" if len(config.seeds) == 1 else f"mean over {len(config.seeds)} seeds"
    rising = (table.numbers[table.numbers.metric == "val_still_rising"].value > 0).any()
    marked = "; † validation CIDEr was still rising" if rising else ""
    marked += (
        "; ‡ with an encoder of its own, trained too"
        if any(map(config.sees_pixels, config.systems))
        else ""
    )
    quality = (
        f"Quality on {table.name} ({images}, {seeds}; ± half the 95 % bootstrap interval{marked})"
    )
    sections: dict[str, tuple[str, Cells]] = {
        "quality": (quality, metric_cells(report, QUALITY)),
        "humans": (
            f"Beside humans on {table.name}, against all references but one",
            metric_cells(report, BESIDE_HUMANS),
        ),
        "diversity": (
            f"Diversity of {config.decoding.samples} captions an image on {table.name}",
            metric_cells(report, DIVERSITY),
        ),
        "training": (f"Training on {table.name}", training_cells(report)),
    }
    if "machine" in table.manifests.get("time", {}).get("facts", {}):
        sections["latency"] = (f"{latency_title(report)}, on {table.name}", latency_cells(report))
    head = (
        f"% Version {named}; made by dsacap from table.csv, not to be edited. "
        "\\usepackage{booktabs,graphicx}; \\cite needs table.bib.\n"
    )
    floats = [
        _float(f"{table.name}-{name}", said, cells, key_of(table, named))
        for name, (said, cells) in sections.items()
        if cells[1]
    ]
    return "\n".join([head, *floats])


def _float(label: str, said: str, cells: Cells, key: str) -> str:
    headers, rows = cells
    texts = 2 if headers[1] == "Decoding" else 1
    align = ["left"] * texts + ["right"] * (len(headers) - texts)
    tabular = tabulate(
        rows, headers, tablefmt="latex_booktabs", disable_numparse=True, colalign=align
    )
    caption = f"{escaped(said)} \\cite{{{key}}}."
    text = (
        f"\\begin{{table*}}\n\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n\\caption{{{caption}}}\n\\label{{tab:{label}}}\n"
        f"{_FITTED}{{%\n{tabular}}}\n\\end{{table*}}\n"
    )
    for sign, maths in _MATHS.items():
        text = text.replace(sign, maths)
    return text
