"""From a finished run to what is committed: results/<name>/, and the tables in the README."""

import html
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_text, sha256
from dsacap.reporting.markdown import LOCAL_CHANGES
from dsacap.reporting.page.content import title_of
from dsacap.reporting.readme import update_readme
from dsacap.runs.kept_rows import keep_rows, rows_without_captions
from dsacap.runs.layout import Layout, diversity_plot_of
from dsacap.runs.manifest import require_committed


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        folder: Where to.
        kept: The names of the rows whose captions are in `folder`.
        without_captions: The names of the rows whose captions no longer exist.
    """

    folder: Path
    kept: list[str]
    without_captions: list[str]


def publish(layout: Layout) -> Published:
    """Copy the results of a run to results/<name>/, and show its tables in the README.

    Copied are the tables, the page of captions (index.html), the trials, the ablation and the
    claims, as far as they exist, and the captions of all rows, from which `dsacap verify` computes
    the scores again.

    Raises:
        UserError: There is no finished table, it was made from uncommitted code, index.html shows
            another table, or the README asks for a column or row that the table lacks.
    """
    if not layout.table.exists():
        raise UserError(f"{layout.table}: no finished table to publish; run `make table` first")
    require_committed(layout.table, read_json(layout.table.with_suffix(".json"))["manifests"])
    target = layout.published
    if target.resolve() == layout.table.parent.resolve():
        raise UserError(
            f"{target}: the tables of this configuration are already here (see `results` in the"
            " configuration), so there is nothing to copy"
        )
    target.mkdir(parents=True, exist_ok=True)
    forms = (".md", ".csv", ".json", ".svg", ".bib", ".tex")
    _copy([*map(layout.table.with_suffix, forms), diversity_plot_of(layout.table)], target)
    for page in _pages(layout):
        _copy([page, page.with_suffix(".csv"), diversity_plot_of(page)], target)
    missing = rows_without_captions(layout)
    kept = keep_rows(layout, may_be_none=True)
    update_readme(layout.config.name, target)
    return Published(target, kept, missing)


def _copy(files: Iterable[Path], target: Path) -> None:
    """Copy the files that exist; remove copies of the others, which are of an earlier run."""
    for file in files:
        if file.exists():
            shutil.copy2(file, target)
        else:
            (target / file.name).unlink(missing_ok=True)


def _pages(layout: Layout) -> list[Path]:
    """The pages next to the table that exist and are of this data set.

    Raises:
        UserError: A page was made from uncommitted code, or index.html from another table.
    """
    pages, title = [], f"<title>{html.escape(title_of(layout.config.name))}</title>"
    of_run = (layout.caption_page, layout.trials_table, layout.ablation_table, layout.claims)
    for page in (*of_run, layout.page):
        if page.exists() and (
            (text := read_text(page)).startswith(f"# {layout.config.name}: ") or title in text
        ):
            if page == layout.page and sha256(layout.table.with_suffix(".json")) not in text:
                raise UserError(
                    f"{page}: shows another table than {layout.table};"
                    " run `dsacap report-page` again"
                )
            if LOCAL_CHANGES in text:
                raise UserError(
                    f"{page}: made from uncommitted code; commit, remove the files of the stages"
                    " that were run from it, and run again"
                )
            pages.append(page)
    return pages
