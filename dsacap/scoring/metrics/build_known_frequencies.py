"""Build a file of document frequencies that is shipped with this package.

    python -m dsacap.scoring.metrics.build_known_frequencies NAME --references FILE --source "..."

`known_frequencies.py` says what such a file contains.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsacap.data.caption_files.reader import joined, read_captions
from dsacap.scoring.metrics import known_frequencies
from dsacap.text.ptb_tokenizer import ptb_tokenize


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, build the file, and print what it holds."""
    program = "python -m dsacap.scoring.metrics.build_known_frequencies"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.split("\n")[0])
    parser.add_argument("name", help="name of the file, without its suffix")
    help = "all captions of the corpus, in COCO's format"
    parser.add_argument(
        "--references", type=Path, nargs="+", metavar="FILE", required=True, help=help
    )
    help = "where the captions come from, and their licence"
    parser.add_argument("--source", required=True, metavar="TEXT", help=help)
    help = "where to write (default: into the package)"
    parser.add_argument("--folder", type=Path, default=known_frequencies.FOLDER, help=help)
    options = parser.parse_args(arguments)
    references = joined([read_captions(path) for path in options.references]).by_image
    path = options.folder / f"{options.name}{known_frequencies.SUFFIX}"
    tokens = iter(
        ptb_tokenize([caption for captions in references.values() for caption in captions])
    )
    images = [[next(tokens) for _ in captions] for captions in references.values()]
    count = known_frequencies.write_known_frequencies(path, images, options.source)
    size = path.stat().st_size
    print(f"{path}: {count:,} n-grams of {len(references):,} images, {size:,} bytes")


if __name__ == "__main__":
    main()
