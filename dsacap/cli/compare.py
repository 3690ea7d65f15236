"""`dsacap compare A B ...`: how systems differ, as tables for people and for programs."""

import argparse
import csv
import sys
import textwrap
from collections.abc import Iterator

from tabulate import tabulate

from dsacap.cli.printing import scale_of, signature_lines
from dsacap.cli.reading import SPICE, TABLE, check_files, reading_of
from dsacap.common.errors import UserError
from dsacap.common.files import replacing, write_json, write_text
from dsacap.common.outputs import beside, print_written
from dsacap.common.printable import on_one_line, printable
from dsacap.data.photos import PhotoSource
from dsacap.evaluation.comparison import Comparison, Difference, compare, names_of
from dsacap.reporting.comparison_page import RANKS, comparison_page, highest, scaled

_SHOWN = 5  # images of each winner


def compare_files(options: argparse.Namespace) -> None:
    """Compare files of captions, print how they differ, and write what the options name.

    Args:
        options: The options of `dsacap compare`.

    Raises:
        UserError: A file is malformed, the images differ, or an output would overwrite an input.
    """
    outputs = [options.json, options.csv, options.latex, options.html]
    check_files(options, options.files, outputs)
    if options.photos and not options.html:
        raise UserError("--photos: are shown on the page only; give --html FILE too")
    photos = PhotoSource(options.photos) if options.photos else None
    found = compare(
        names_of(options.files),
        options.references,
        spice=SPICE[options.spice],
        document_frequencies=options.document_frequencies,
        how=reading_of(options),
    )
    for note in found.notes:
        print(note, file=sys.stderr)
    with beside(outputs):
        _print(found)
    _write(options, found, photos)


def _print(found: Comparison) -> None:
    print(_scores(found, "simple"))
    print(f"\n{scale_of(found.signatures)}\n{textwrap.fill(RANKS, 90)}\n")
    print("Differences: the score of the first minus that of the second, x100.\n")
    headers = ["Metric", "First", "Second", "Difference", "95 % interval", "p", "p (Holm)"]
    rows = [_row(one) for one in found.differences]
    print(tabulate(rows, headers, disable_numparse=True, colalign=("left",) * 3 + ("right",) * 4))
    print("\n".join(["", *_images(found), "", *signature_lines(found.signatures.values())]))


def _write(options: argparse.Namespace, found: Comparison, photos: PhotoSource | None) -> None:
    if options.json:
        parts = {
            "values": found.values,
            "ranks": found.ranks,
            "differences": [vars(one) for one in found.differences],
            "signatures": found.signatures,
            "notes": list(map(printable, found.notes)),
        }
        write_json(options.json, parts)
    if options.csv:
        with replacing(options.csv) as temporary, temporary.open("w", **TABLE) as file:
            writer = csv.DictWriter(file, list(Difference.__annotations__), lineterminator="\n")
            writer.writeheader()
            writer.writerows(vars(one) for one in found.differences)
    if options.latex:
        write_text(options.latex, _scores(found, "latex_booktabs") + "\n")
    if options.html:
        page, problems = comparison_page(found, photos)
        write_text(options.html, page)
        for problem in problems:
            print(f"not on the page: {problem}", file=sys.stderr)
    print_written([options.json, options.csv, options.latex, options.html])


def _scores(found: Comparison, form: str) -> str:
    """The table of systems by metrics, scaled as in papers."""
    metrics = list(next(iter(found.values.values())))
    rows = [
        [name, *(f"{scaled(m, of[m]):.2f} ({found.ranks[name][m]})" for m in metrics)]
        for name, of in found.values.items()
    ]
    align = ("left", *["right"] * len(metrics))
    headers = ["System", *metrics]
    return tabulate(rows, headers, tablefmt=form, disable_numparse=True, colalign=align)


def _row(one: Difference) -> list[str]:
    low, high = (f"{scaled(one.metric, bound):+.2f}" for bound in (one.low, one.high))
    difference = f"{scaled(one.metric, one.difference):+.2f}"
    p = [f"{one.p:.4f}", f"{one.p_holm:.4f}"]
    return [one.metric, one.first, one.second, difference, f"{low} .. {high}", *p]


def _images(found: Comparison) -> Iterator[str]:
    won, images, width = found.won(), len(found.references), max(map(len, found.captions))
    equal = sum(not found.spread(image) for image in found.references)
    yield f"Images: all systems have the same CIDEr on {equal:,} of {images:,}; those on which they"
    yield "differ most follow, each once, under a system with the highest CIDEr."
    for winner, examples in found.examples(_SHOWN).items():
        yield f"\n{highest(winner, len(won[winner]), images)}"
        for image in examples:
            yield f"  image {image}"
            for name, captions in found.captions.items():
                score = 100 * found.ciders[name][image]
                yield f"    {name:<{width}}  {score:6.1f}  {on_one_line(captions[image])}"
