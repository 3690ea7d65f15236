"""From a finished run to the committed copy: results/<name>/, and the summary in the README."""

import html
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_text, sha256, write_text
from dsacap.reporting.markdown import LOCAL_CHANGES
from dsacap.reporting.page import title_of
from dsacap.runs.kept_rows import keep_rows, rows_without_captions
from dsacap.runs.layout import Layout
from dsacap.runs.manifest import require_committed

_README = Path("README.md")
_SHOWN = ("Quality", "Beside humans", "Diversity", "Latency")


@dataclass(frozen=True)
class Published:
    """The folder, and the names of the rows whose captions lie in it now, and of those whose captions are no longer here."""

    folder: Path
    kept: list[str]
    without_captions: list[str]


def publish(layout: Layout) -> Published:
    """Copies the tables to results/<name>/, with index.html, the page of captions, the ablation and the claims if there are any, and the
    rows' captions, from which `dsacap verify` computes the scores again. Shows the tables in the README where it has a place for this data
    set: `<!-- NAME: written by make publish -->`, or, for some sections, `<!-- NAME (Quality): written by make publish -->`.

    Raises UserError where there is no finished table, it was made from code that no commit holds, or index.html is of another.
    """
    if not layout.table.exists():
        raise UserError(f"{layout.table}: no finished table to publish; run `make table` first")
    require_committed(layout.table, read_json(layout.table.with_suffix(".json"))["manifests"])
    target = layout.published
    if target.resolve() == layout.table.parent.resolve():
        raise UserError(
            f"{target}: the tables of this configuration lie there already (`results`); nothing to copy"
        )
    target.mkdir(parents=True, exist_ok=True)
    for suffix in (".md", ".csv", ".json", ".svg", ".bib", ".tex"):
        if (file := layout.table.with_suffix(suffix)).exists():
            shutil.copy2(file, target / f"table{suffix}")
        else:  # no latency, no plot; nor that of an earlier table
            (target / f"table{suffix}").unlink(missing_ok=True)
    for page in _pages(layout):
        for file in (page, page.with_suffix(".csv")):
            if file.exists():
                shutil.copy2(file, target)
    missing = rows_without_captions(layout)
    kept = keep_rows(layout, may_be_none=True)
    readme = read_text(_README)
    name = re.escape(layout.config.name)
    place = re.compile(
        rf"(<!-- {name}(?: \(([\w, ]+)\))?: written by make publish -->\n).*?(<!-- end -->)",
        re.DOTALL,
    )
    table = read_text(layout.table)
    write_text(
        _README,
        place.sub(
            lambda m: m[1] + summarise(table, tuple(m[2].split(", ")) if m[2] else _SHOWN) + m[3],
            readme,
        ),
    )
    return Published(target, kept, missing)


def _pages(layout: Layout) -> list[Path]:
    """Pages beside the table that are there and of this data set. UserError where one was made from code that no commit holds, or
    index.html from another table."""
    pages, title = [], f"<title>{html.escape(title_of(layout.config.name))}</title>"
    for page in (layout.caption_page, layout.ablation_table, layout.claims, layout.page):
        if page.exists() and (
            (text := read_text(page)).startswith(f"# {layout.config.name}: ") or title in text
        ):
            if page == layout.page and sha256(layout.table.with_suffix(".json")) not in text:
                raise UserError(
                    f"{page}: shows another table than {layout.table}; run `dsacap report-page` again"
                )
            if LOCAL_CHANGES in text:
                raise UserError(
                    f"{page}: made from uncommitted code; commit, remove those stages' files and run again"
                )
            pages.append(page)
    return pages


def summarise(table: str, shown: tuple[str, ...] = _SHOWN) -> str:
    """The sections of table.md that the README shows, one heading lower and without their notes."""
    starts = tuple(
        f"{name}{end}" for name in shown for end in ("\n", " of ", " on ")
    )  # "Latency on AMD EPYC"
    sections = [section for section in table.split("\n## ") if section.startswith(starts)]
    return (
        "".join(f"\n### {section.split(chr(10), 1)[0]}\n\n{_rows(section)}" for section in sections)
        + "\n"
    )


def _rows(section: str) -> str:
    return "".join(f"{line}\n" for line in section.splitlines() if line.startswith("|"))
