"""The options of how files of captions are read, which `score`, `compare` and `validate` share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsacap.evaluation.inputs import Reading
    from dsacap.scoring.score import Spice

# What --spice, --no-spice and neither of them ask for.
SPICE: "dict[bool | None, Spice]" = {None: "auto", True: "required", False: "off"}

# The forms of files of captions, by name; tests/cli/test_arguments.py holds it to the reader's.
FORM_NAMES = (
    *("coco-results", "coco-annotations", "coco-eval", "dictionary", "karpathy", "run", "textcaps"),
    *("jsonl", "csv", "tsv", "flickr8k-tokens"),
)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of how captions are read."""
    text = "the form of the captions (default: found out from the content)"
    parser.add_argument("--format", choices=FORM_NAMES, metavar="FORM", help=text)
    text = "the decoding of a run's captions, as a stage wrote them"
    parser.add_argument("--decoding", help=text)
    text = "match ids that are names of image files: COCO_val2014_000000391895.jpg is 391895"
    parser.add_argument("--ids", choices=("as-given", "file-names"), default="as-given", help=text)
    text = "keep the first of several captions of an image, as distributed evaluation repeats some"
    parser.add_argument("--duplicates", choices=("first",), help=text)


def add_references(parser: argparse.ArgumentParser, subset: bool = True) -> None:
    """Add the options of how captions and their references are read.

    Args:
        parser: The parser of a verb.
        subset: Whether the references may be of more images than the captions.
    """
    text = "captions of people, in any form of docs/scoring.md"
    parser.add_argument("--references", type=Path, nargs="+", metavar="FILE", help=text)
    text = "the form of the references (default: found out from the content)"
    parser.add_argument("--references-format", choices=FORM_NAMES, metavar="FORM", help=text)
    text = "the split of a file of Karpathy's, such as test"
    parser.add_argument("--split", help=text)
    text = "the references are PTB tokens already"
    parser.add_argument("--tokenized", action="store_true", help=text)
    if subset:
        text = "score the predicted images only if there are references of more"
        parser.add_argument("--subset", action="store_true", help=text)
    add_reading(parser)


def reading_of(options: argparse.Namespace) -> "Reading":
    """Return how the options have files read."""
    from dsacap.evaluation.inputs import Reading

    given = vars(options)
    return Reading(
        options.format,
        given.get("references_format"),
        options.decoding,
        given.get("split"),
        options.ids,
        options.duplicates,
        given.get("tokenized", False),
        given.get("subset", False),
    )
