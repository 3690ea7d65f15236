"""The verbs that write tables and pages, and that keep their rows."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from dsacap.cli.contents import Contents
from dsacap.cli.stages import opened, require_section
from dsacap.common.outputs import print_written

# verb: (function that writes it, its name in the layout, the section of the configuration that it
# needs, help)
_REPORTS = {
    "report": (
        "dsacap.reporting.table:write_tables",
        "table",
        None,
        "write the tables of the rows that are finished; they name those that are not",
    ),
    "report-samples": (
        "dsacap.reporting.table:write_sample_table",
        "sample_table",
        None,
        "write the table of what score-samples computes",
    ),
    "report-captions": (
        "dsacap.reporting.captions:write_caption_page",
        "caption_page",
        None,
        "write the captions of some photos, and the faults of all: grammar, length, agreement",
    ),
    "report-page": (
        "dsacap.reporting.page.content:write_page",
        "page",
        None,
        "write index.html: results, every system's captions, the inside of DSACap, plots",
    ),
    "report-degraded": (
        "dsacap.reporting.robustness:write_robustness",
        "robustness_table",
        None,
        "write the table of scores of captions of degraded photos",
    ),
    "report-trials": (
        "dsacap.reporting.trials:write_trials",
        "trials_table",
        "trials",
        "write the table of the trials that are finished; it names those that are not",
    ),
    "report-ablation": (
        "dsacap.reporting.ablation:write_ablation",
        "ablation_table",
        "judge",
        "write the table of the ablation",
    ),
    "report-claims": (
        "dsacap.reporting.claims:write_claims",
        "claims",
        "ablation",
        "test the ablation's claims and write the verdicts",
    ),
}


def add_verbs(contents: Contents) -> None:
    """Add the verbs that write tables and pages."""
    for verb, (*_, text) in _REPORTS.items():
        contents.verb(verb, text, run=_report)
    text = "write the page of what pytest --benchmark-only measured"
    latency = contents.add_parser("report-latency", text, run=_report_latency)
    text = "what pytest --benchmark-only --benchmark-json FILE wrote"
    latency.add_argument("benchmarks", type=Path, nargs="+", metavar="FILE", help=text)
    place, text = Path("results/latency.md"), "the page (default: %(default)s)"
    latency.add_argument("--output", type=Path, default=place, help=text)


def add_keeping(contents: Contents) -> None:
    """Add the verbs that copy finished tables and rows to where they are committed."""
    text = "copy the finished tables to results/NAME/, and to the README"
    contents.verb("publish", text, run=_publish)
    text = "copy finished rows (captions, manifests) and trials to results/NAME/, to be committed"
    contents.verb("keep", text, run=_keep)
    text = "restore kept rows, so that they are scored and reported without being trained again"
    contents.verb("restore", text, run=_restore)


def _report(options: argparse.Namespace) -> int:
    written_by, place, section, _ = _REPORTS[options.verb]
    layout = opened(options.config)
    if section:
        require_section(layout, options.config, section)
    module, _, name = written_by.partition(":")
    write: Callable = getattr(import_module(module), name)
    size = write(layout)
    if options.verb == "report-page":
        print(f"wrote {layout.page} ({size:,} bytes); open it in a browser")
    else:
        print_written(_with_forms(getattr(layout, place)))
    return 0


def _with_forms(page: Path) -> list[Path]:
    """Return a page, and the files with the same numbers next to it: table.csv, table.json, ..."""
    return [page, *(path for path in sorted(page.parent.glob(f"{page.stem}.*")) if path != page)]


def _report_latency(options: argparse.Namespace) -> int:
    from dsacap.common.outputs import check_outputs
    from dsacap.reporting.latency import write_latency

    check_outputs([options.output], options.benchmarks)
    write_latency(options.benchmarks, options.output)
    print_written(_with_forms(options.output))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from dsacap.reporting.publish import publish

    layout = opened(options.config)
    published = publish(layout)
    kept = f"with the captions of {len(published.kept)} rows"
    print(f"published in {published.folder}, {kept}; commit it")
    if lacking := published.without_captions:
        reason = f"no longer in {layout.root}, so these rows cannot be verified"
        print(f"without captions, which are {reason}: {', '.join(lacking)}")
    return 0


def _keep(options: argparse.Namespace) -> int:
    from dsacap.runs.kept_rows import keep_rows

    print(f"kept: {', '.join(keep_rows(opened(options.config)))}; commit them")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from dsacap.runs.kept_rows import restore_rows

    restored = ", ".join(restore_rows(opened(options.config)))
    print(f"restored: {restored or 'nothing that is not here already'}")
    return 0
