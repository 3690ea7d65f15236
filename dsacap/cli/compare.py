"""`dsacap compare A B ...`: how systems differ, as tables for people and for programs."""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from dsacap.cli.reading import SPICE, reading_of
from dsacap.common.errors import UserError
from dsacap.common.files import replacing, write_json, write_text
from dsacap.common.outputs import check_outputs
from dsacap.evaluation.comparison import LEVEL, Comparison, Difference, compare, names_of
from dsacap.scoring.score import PERCENT

_SHOWN = 5  # images


def compare_files(options: argparse.Namespace) -> None:
    """Compare files of captions, print how they differ, and write what the options name.

    Args:
        options: The options of `dsacap compare`.

    Raises:
        UserError: A file is malformed, the images differ, or an output would overwrite an input.
    """
    if not options.references:
        raise UserError("--references: is missing; it is needed to compare captions")
    read: list[Path] = [*options.files, *options.references]
    check_outputs([options.json, options.csv, options.latex], read)
    systems = names_of(options.files)
    spice = SPICE[options.spice]
    found = compare(systems, options.references, spice=spice, how=reading_of(options))
    for note in found.notes:
        print(note, file=sys.stderr)
    print(_scores(found, "simple"))
    print(
        f"\nIn parentheses: ranks. Systems that do not differ significantly (p < {LEVEL}, a paired"
        "\npermutation test over images with Holm's correction for all pairs) are tied.\n"
    )
    headers = ["Metric", "First", "Second", "Difference", "95 % interval", "p", "p (Holm)"]
    rows = [_row(one) for one in found.differences]
    print(tabulate(rows, headers, disable_numparse=True, colalign=("left",) * 3 + ("right",) * 4))
    print("\n" + "\n".join(_images(found)))
    _write(options, found)


def _write(options: argparse.Namespace, found: Comparison) -> None:
    if options.json:
        differences = [vars(one) for one in found.differences]
        parts = {"values": found.values, "ranks": found.ranks, "differences": differences}
        write_json(options.json, parts)
    if options.csv:
        with replacing(options.csv) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(Difference.__annotations__), lineterminator="\n")
            writer.writeheader()
            writer.writerows(vars(one) for one in found.differences)
    if options.latex:
        write_text(options.latex, _scores(found, "latex_booktabs") + "\n")


def _scores(found: Comparison, form: str) -> str:
    """The table of systems by metrics, scaled as in papers."""
    metrics = list(next(iter(found.values.values())))
    rows = [
        [name, *(f"{_scaled(m, of[m]):.2f} ({found.ranks[name][m]})" for m in metrics)]
        for name, of in found.values.items()
    ]
    align = ("left", *["right"] * len(metrics))
    headers = ["System", *metrics]
    return tabulate(rows, headers, tablefmt=form, disable_numparse=True, colalign=align)


def _row(one: Difference) -> list[str]:
    low, high = (f"{_scaled(one.metric, bound):+.2f}" for bound in (one.low, one.high))
    difference = f"{_scaled(one.metric, one.difference):+.2f}"
    p = [f"{one.p:.4f}", f"{one.p_holm:.4f}"]
    return [one.metric, one.first, one.second, difference, f"{low} .. {high}", *p]


def _scaled(metric: str, value: float) -> float:
    return 100 * value if metric in PERCENT else value


def _images(found: Comparison) -> Iterator[str]:
    yield "Images on which CIDEr differs most:"
    width = max(map(len, found.captions))
    for image in found.most_different(_SHOWN):
        yield f"  image {image}"
        for name, captions in found.captions.items():
            score = 100 * found.ciders[name][image]
            yield f"    {name:<{width}}  {score:6.1f}  {_shown(captions[image])}"


def _shown(caption: str) -> str:
    """A caption without what would move the cursor or end the line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in caption)
