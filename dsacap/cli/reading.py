"""The options for reading files of captions, which `score`, `compare` and `validate` share."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsacap.common.errors import UserError
from dsacap.common.outputs import check_outputs
from dsacap.data.caption_files.source import STDIN

if TYPE_CHECKING:
    from dsacap.evaluation.inputs import Reading
    from dsacap.scoring.score import Spice

# What --spice, --no-spice and neither of them ask for.
SPICE: "dict[bool | None, Spice]" = {None: "auto", True: "required", False: "off"}

# How tables are opened: in UTF-8, and with the line ends that the writer writes.
TABLE: dict[str, Any] = {"newline": "", "encoding": "utf-8"}

# The forms of files of captions, by name; tests/cli/test_arguments.py holds it to the reader's.
FORM_NAMES = (
    *("coco-results", "coco-annotations", "coco-eval", "dictionary", "karpathy", "run", "textcaps"),
    *("jsonl", "csv", "tsv", "flickr8k-tokens"),
)


def filled(text: str) -> str:
    """Return the value of an option, which would change scores unnoticed if it were empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; is a shell variable unset?")
    return text


def filled_path(text: str) -> Path:
    """Return the file or folder that an option names; an empty name would be this folder."""
    return Path(filled(text))


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options for reading captions."""
    text = "the form of the captions (default: recognised by the content)"
    parser.add_argument("--format", choices=FORM_NAMES, metavar="FORM", help=text)
    text = "which decoding to read from the captions that a stage of a run wrote"
    parser.add_argument("--decoding", type=filled, help=text)
    text = "file-names: read names of image files as ids; COCO_val2014_000000391895.jpg is 391895"
    parser.add_argument("--ids", choices=("as-given", "file-names"), default="as-given", help=text)
    text = "keep the first caption of an image that occurs twice, as after distributed evaluation"
    parser.add_argument("--duplicates", choices=("first",), help=text)


def add_references(parser: argparse.ArgumentParser) -> None:
    """Add the options for reading captions and their references."""
    text = "human captions, in any form of docs/scoring.md"
    parser.add_argument("--references", type=Path, nargs="+", metavar="FILE", help=text)
    text = "the form of the references (default: recognised by the content)"
    parser.add_argument("--references-format", choices=FORM_NAMES, metavar="FORM", help=text)
    text = "which split of Karpathy's file to use, such as test"
    parser.add_argument("--split", type=filled, help=text)
    text = "the references are PTB tokens already"
    parser.add_argument("--tokenized", action="store_true", help=text)
    text = "score only the predicted images if the references have more"
    parser.add_argument("--subset", action="store_true", help=text)
    add_reading(parser)


def add_document_frequencies(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the source of CIDEr's document frequencies."""
    text = (
        "take CIDEr's document frequencies from all captions of COCO's val2014 (coco-val2014), or "
        "from those of FILE, which has the form of --references (default: from the references)"
    )
    what = "coco-val2014|FILE"
    parser.add_argument("--document-frequencies", type=filled, metavar=what, help=text)


def check_files(
    options: argparse.Namespace,
    captions: Sequence[Path],
    outputs: Sequence[Path | None],
    alone: bool = False,
) -> None:
    """Check, before anything is read, that outputs can be written, and what inputs are.

    Args:
        options: The options of the verb.
        captions: The captions that it reads.
        outputs: The files that it writes; None for those that are not wanted.
        alone: Whether captions are read without references.

    Raises:
        UserError: References are missing, several inputs are standard input, or an output cannot
            be written or is an input.
    """
    given = vars(options)
    if "references" in given and not given["references"] and not alone:
        raise UserError("--references: is missing; captions are scored against references")
    names = [*captions, *(given.get("references") or []), *(given.get("train") or [])]
    others = [given.get("document_frequencies"), given.get("photos")]
    inputs = [Path(name) for name in (*names, *others) if name]
    check_standard_input(inputs)
    if photos := given.get("photos"):
        from dsacap.data.photos import PhotoSource

        inputs += PhotoSource(photos).photos_among(path for path in outputs if path)
    check_outputs(outputs, inputs)


def check_standard_input(inputs: Sequence[Path]) -> None:
    """Raise UserError if several inputs are standard input, which can be read once."""
    if sum(str(path) == STDIN for path in inputs) > 1:
        raise UserError("-: standard input is named twice, and can be read once; name a file")


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
