"""Build a file of SPICE tuples that is shipped with this package (see `known_tuples.py`).

    python -m dsacap.scoring.metrics.build_known_tuples NAME --references FILE --source "..."

Tuples come from the user's cache if the captions were parsed before, otherwise from the parser.
Shipped files are not consulted, so that a file is never built from itself.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsacap.data.caption_files.reader import joined, read_captions
from dsacap.data.prepared import load_references
from dsacap.scoring.metrics import known_tuples
from dsacap.scoring.metrics.spice import MAX_WORDS, caption_tuples, parser_key
from dsacap.text.ptb_tokenizer import ptb_tokenize


def build(path: Path, captions: Sequence[str], source: str) -> int:
    """Write the tuples of captions to a file of known tuples.

    Args:
        path: The file to write.
        captions: Tokenised captions, in any order. Those that SPICE would refuse as too long, and
            empty ones, are left out.
        source: Where they come from, and their licence.

    Returns:
        How many captions the file holds.

    Raises:
        UserError: The parser is not available, or fails.
    """
    usable = sorted({caption for caption in captions if 0 < len(caption.split()) <= MAX_WORDS})
    tuples = caption_tuples(usable, download=True, use_known=False)
    known_tuples.write_known_tuples(path, tuples, parser_key(), source)
    return len(tuples)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, build the file, and print what it holds."""
    program, summary = "python -m dsacap.scoring.metrics.build_known_tuples", __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog=program, description=summary)
    parser.add_argument("name", help="name of the file, without its suffix: data set and split")
    given = parser.add_mutually_exclusive_group(required=True)
    help = "captions in COCO's format"
    given.add_argument("--references", type=Path, nargs="+", metavar="FILE", help=help)
    help = "what `dsacap data` wrote; its test split is taken"
    given.add_argument("--data", type=Path, metavar="FOLDER", help=help)
    help = "where the captions come from, and their licence"
    parser.add_argument("--source", required=True, metavar="TEXT", help=help)
    help = "where to write (default: into the package)"
    parser.add_argument("--folder", type=Path, default=known_tuples.FOLDER, help=help)
    options = parser.parse_args(arguments)
    path = options.folder / f"{options.name}{known_tuples.SUFFIX}"
    count = build(path, _captions(options), options.source)
    print(f"{path}: {count} captions, {path.stat().st_size:,} bytes")


def _captions(options: argparse.Namespace) -> list[str]:
    """Return the tokenised captions that the command line names."""
    if options.data:
        prepared = load_references(options.data)
        return [caption for captions in prepared.values() for caption in captions]
    references = joined([read_captions(path) for path in options.references]).by_image
    return ptb_tokenize([caption for captions in references.values() for caption in captions])


if __name__ == "__main__":
    main()
