"""How a table is cited: its version, a BibTeX entry (table.bib) and a LaTeX rendering (table.tex).

The version is the release whose metrics scored it, and the first digits of table.csv's SHA-256:
`0.1.0+1a2b3c4d`. Anybody who has the file can check it, and two tables that differ in one digit
have two versions.
"""

import re
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from tabulate import LATEX_ESCAPE_RULES, tabulate

from dsacap.common.errors import UserError
from dsacap.common.files import read_text, sha256, write_text
from dsacap.reporting.cells import (
    AGAINST_HUMANS,
    DIVERSITY,
    QUALITY,
    SHORTER_BLEU,
    Cells,
    latency_cells,
    latency_title,
    metric_cells,
    training_cells,
)
from dsacap.reporting.table_file import Table

CITATION = Path(__file__).with_name("CITATION.cff")  # a link to that of the repository
_MATHS = {"±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$"}  # as text they need a font encoding
_FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}"
_DIGITS = 12  # of hashes, which a reference list has to break
_RELEASE = re.compile(r"\|v:([^|]+)")


def write_citation(table: Table) -> str:
    """Write table.bib and table.tex next to table.csv, which is the table's path.

    Returns:
        The table's version.

    Raises:
        UserError: The table has no manifests, or this version cannot read its configuration.
    """
    csv = table.path
    if not table.manifests:
        raise UserError(
            f"{csv}: there is no table.json next to it, which records how the table was made;"
            " a table cannot be cited without it"
        )
    version = table_version(csv, table)
    write_text(csv.with_suffix(".bib"), bibtex(table, version))
    write_text(csv.with_suffix(".tex"), latex(table, version))
    return version


def table_version(csv: Path, table: Table) -> str:
    """Return the version of the table in `csv`, such as `0.1.0+1a2b3c4d`."""
    releases = {
        found[1] for signature in table.signatures.values() if (found := _RELEASE.search(signature))
    }
    return f"{max(releases, default=metadata.version('dsacap-bench'))}+{sha256(csv)[:8]}"


def bibtex(table: Table, version: str) -> str:
    """Return the BibTeX entry of a table, with a URL where CITATION.cff has one."""
    project = citation()
    made = max(datetime.fromisoformat(manifest["started"]) for manifest in table.manifests.values())
    commits = dict.fromkeys(
        (manifest["code"]["commit"] or "unknown")[:_DIGITS] for manifest in table.manifests.values()
    )
    title = f"dsacap-bench, table of {table.name}: image captioners measured alike"
    fields = {
        "author": " and ".join(_author(author) for author in project["authors"]),
        "title": f"{{{escaped(title)}}}",
        "year": f"{made:%Y}",
        "version": escaped(version),
        # Most bibliography styles leave out `version`.
        "note": f"Version {escaped(version)}, made by commit {', '.join(commits)}",
    }
    if url := project.get("url") or project.get("repository-code"):
        fields["url"] = url
    lines = [
        f"@misc{{{key_of(table, version)},",
        *(f"  {key:<8} = {{{value}}}," for key, value in fields.items()),
        f"  month    = {f'{made:%b}'.lower()},",
        "}",
    ]
    return "\n".join(lines) + "\n"


def key_of(table: Table, version: str) -> str:
    """Return the key of the BibTeX entry."""
    return f"dsacap-bench-{table.name}-{version.rpartition('+')[2]}"


def citation() -> dict[str, Any]:
    """Return CITATION.cff."""
    return yaml.safe_load(read_text(CITATION))


def _author(author: dict[str, str]) -> str:
    """A group's name is in its own braces, so that BibTeX does not take it apart."""
    if "name" in author:
        return f"{{{escaped(author['name'])}}}"
    return escaped(f"{author['family-names']}, {author['given-names']}")


def escaped(text: str) -> str:
    """Return text in which LaTeX's special characters are escaped."""
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)


def latex(table: Table, version: str) -> str:
    """Return the main sections as LaTeX floats.

    Each can be used alone and is no wider than the text. They need booktabs and graphicx.
    """
    config = table.experiment
    n = table.numbers[table.numbers.metric == "CIDEr"].n.max()
    images = f"{n:.0f} images" if n == n else "the test split"
    seeds = "one seed" if len(config.seeds) == 1 else f"mean over {len(config.seeds)} seeds"
    marks = ""
    if (table.numbers[table.numbers.metric == "val_still_rising"].value > 0).any():
        marks += "; † validation CIDEr was still rising"
    if any(map(config.sees_pixels, config.systems)):
        marks += "; ‡ with an encoder of its own, trained too"
    quality = (
        f"Quality on {table.name} ({images}, {seeds}; ± half the 95 % bootstrap interval{marks})"
    )
    sections: dict[str, tuple[str, Cells]] = {
        "quality": (quality, metric_cells(table, QUALITY)),
        "bleu": (f"BLEU of shorter n-grams on {table.name}", metric_cells(table, SHORTER_BLEU)),
        "humans": (
            f"Captions and references of {table.name}, against all references but one",
            metric_cells(table, AGAINST_HUMANS),
        ),
        "diversity": (
            f"Diversity of {config.decoding.samples} captions an image on {table.name}",
            metric_cells(table, DIVERSITY),
        ),
        "training": (f"Training on {table.name}", training_cells(table)),
    }
    if "machine" in table.manifests.get("time", {}).get("facts", {}):
        sections["latency"] = (f"{latency_title(table)}, on {table.name}", latency_cells(table))
    head = (
        f"% Version {version}; made by dsacap from table.csv, not to be edited. "
        "\\usepackage{booktabs,graphicx}; \\cite needs table.bib.\n"
    )
    floats = [
        _float(f"{table.name}-{name}", caption, cells, key_of(table, version))
        for name, (caption, cells) in sections.items()
        if cells[1]
    ]
    return "\n".join([head, *floats])


def _float(label: str, caption: str, cells: Cells, key: str) -> str:
    headers, rows = cells
    texts = 2 if headers[1] == "Decoding" else 1
    align = ["left"] * texts + ["right"] * (len(headers) - texts)
    tabular = tabulate(
        rows, headers, tablefmt="latex_booktabs", disable_numparse=True, colalign=align
    )
    text = (
        "\\begin{table*}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{escaped(caption)} \\cite{{{key}}}.}}\n\\label{{tab:{label}}}\n"
        f"{_FITTED}{{%\n{tabular}}}\n\\end{{table*}}\n"
    )
    for sign, maths in _MATHS.items():
        text = text.replace(sign, maths)
    return text
