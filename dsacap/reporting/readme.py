"""The tables in README.md, which `dsacap publish` fills in from a published table.

A place for a table is what is between two comments. The first comment names the data set, and it
may choose sections of table.md, whose names it lists, or columns and rows of one small table:

    <!-- scenes (Quality, Diversity): written by make publish -->
    <!-- end -->

    <!-- scenes: written by make publish
    columns: CIDEr, SPICE, true, ms, CPU-s
    row: ar, greedy
    row: dsacap, K=1, t_s=0
    -->
    <!-- end -->

A row is the key of a system and the name of a decoding. To fill in the places from a table that is
committed already: `python -m dsacap.reporting.readme results/scenes`.
"""

import re
import sys
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_text, write_text
from dsacap.reporting.cells import QUALITY, SHORTER_BLEU, cell, latency_title, rows_of
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.table_file import Table, load_table

README = Path("README.md")
_SECTIONS = ("Quality", "Beside humans", "Diversity", "Latency")  # where the place names none
_PLACE = r"""
    (?P<begin><!--\ {name}(?:\ \((?P<sections>[\w, ]+)\))?:\ written\ by\ make\ publish
    (?:\ |\ncolumns:\ (?P<columns>[^\n]+)\n(?P<rows>(?:row:\ [^\n]+\n)+))-->\n)
    .*?(?P<end><!--\ end\ -->)"""
_MS, _CPU_SECONDS = "ms", "CPU-s"


def update_readme(name: str, folder: Path, readme: Path = README) -> None:
    """Fill in the places of a data set.

    Args:
        name: The data set.
        folder: Where its table.md is; chosen columns are taken from the table.csv next to it.
        readme: The file to update.

    Raises:
        UserError: A place names a column or a row that the table does not have.
    """
    place = re.compile(_PLACE.replace("{name}", re.escape(name)), re.DOTALL | re.VERBOSE)

    def filled(found: re.Match) -> str:
        if found["columns"]:
            rows = [line.removeprefix("row: ") for line in found["rows"].splitlines()]
            text = small_table(load_table(folder), found["columns"].split(", "), rows)
        else:
            sections = tuple(found["sections"].split(", ")) if found["sections"] else _SECTIONS
            text = summarise(read_text(folder / "table.md"), sections)
        return found["begin"] + text + found["end"]

    write_text(readme, place.sub(filled, read_text(readme)))


def summarise(table: str, sections: tuple[str, ...] = _SECTIONS) -> str:
    """Return sections of table.md, one heading lower and without their notes."""
    starts = tuple(
        f"{name}{end}" for name in sections for end in ("\n", " of ", " on ")
    )  # "Latency on AMD EPYC"
    chosen = [section for section in table.split("\n## ") if section.startswith(starts)]
    return (
        "".join(f"\n### {section.split(chr(10), 1)[0]}\n\n{_lines(section)}" for section in chosen)
        + "\n"
    )


def small_table(table: Table, columns: list[str], rows: list[str]) -> str:
    """Return chosen columns and rows of a table as Markdown, and what the costs among them are.

    Args:
        table: The table.
        columns: Metrics of the section on quality, "ms" and "CPU-s".
        rows: Rows as "system, decoding", in the order in which they are shown.

    Raises:
        UserError: There is no such column or row.
    """
    batch = table.experiment.timing.batch_sizes[0]
    digits = QUALITY | SHORTER_BLEU | {_MS: 1, _CPU_SECONDS: 0}
    labels = {f"{system}, {decoding}": label for system, decoding, label in rows_of(table)}
    _check(table, "column", columns, digits)
    _check(table, "row", rows, labels)
    metrics = {_MS: f"latency_median_ms_batch_{batch}", _CPU_SECONDS: "train_cpu_seconds"}
    lines = []
    for row in rows:
        system, decoding = row.split(", ", 1)
        lines.append([labels[row], decoding])
        for column in columns:
            of_decoding = "" if column == _CPU_SECONDS else decoding
            metric = metrics.get(column, column)
            lines[-1].append(cell(table, system, of_decoding, metric, digits[column]))
    notes = []
    if _MS in columns and "time" in table.manifests:
        images = "one image" if batch == 1 else f"{batch} images"
        machine = latency_title(table).removeprefix("Latency on ")
        notes.append(f"*{_MS}*: median time to decode {images}, on {machine}")
    if _CPU_SECONDS in columns:
        notes.append(
            f"*{_CPU_SECONDS}*: CPU seconds of training, which for a tuned row include tuning and"
            " the generator that rewarded it"
        )
    text = f"\n{markdown(['System', 'Decoding', *columns], lines)}\n\n"
    return text + (";\n".join(notes) + ".\n\n" if notes else "")


def _check(table: Table, kind: str, chosen: list[str], known: dict) -> None:
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(
            f"{README}: {table.path} has no {kind} {unknown[0]!r}; choose from: {'; '.join(known)}"
        )


def _lines(section: str) -> str:
    return "".join(f"{line}\n" for line in section.splitlines() if line.startswith("|"))


if __name__ == "__main__":
    update_readme(Path(sys.argv[1]).name, Path(sys.argv[1]))
