"""`dsacap page A B ...`: captions of one or several systems as a page to open in a browser."""

import argparse
import sys

from dsacap.cli.reading import SPICE, check_files, reading_of
from dsacap.common.outputs import STDOUT
from dsacap.evaluation.comparison import names_of
from dsacap.reporting.page.own_captions import write_page_of_files


def page_of_files(options: argparse.Namespace) -> None:
    """Score files of captions and write their page.

    Args:
        options: The options of `dsacap page`.

    Raises:
        UserError: A file is malformed, the images differ, or the page would overwrite an input.
    """
    check_files(options, options.files, [options.output])
    notes = write_page_of_files(
        names_of(options.files),
        options.references,
        options.output,
        photos=options.photos,
        spice=SPICE[options.spice],
        how=reading_of(options),
    )
    for note in notes:
        print(note, file=sys.stderr)
    if options.output != STDOUT:
        size = options.output.stat().st_size
        print(f"wrote {options.output} ({size:,} bytes); open it in a browser")
