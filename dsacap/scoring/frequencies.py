"""Document frequencies that CIDEr is given, in place of those of the scored references.

A score is then the same whichever other images are scored with it, so one image has a score too.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dsacap.scoring.metrics.document_frequencies import DocumentFrequencies, document_frequencies
from dsacap.scoring.metrics.known_frequencies import known_files, read_known_frequencies
from dsacap.scoring.signature import SHOWN_DIGITS, hash_of_references


class Frequencies(NamedTuple):
    """Document frequencies, and how signatures name them."""

    name: str
    table: DocumentFrequencies


def shipped_frequencies(name: str) -> Frequencies:
    """Return document frequencies that are shipped with this package.

    Args:
        name: A key of `known_files()`: "coco-val2014", those of all val2014 captions of COCO.

    Raises:
        UserError: The file is damaged.
    """
    known = read_known_frequencies(known_files()[name])
    return Frequencies(f"{name}@sha256:{known.sha256[:SHOWN_DIGITS]}", known.table)


def frequencies_of(references: Mapping[int, Sequence[str]]) -> Frequencies:
    """Return the document frequencies of a corpus, named by a hash of its captions.

    Args:
        references: The tokenised references of each image of the corpus.

    Raises:
        UserError: There are fewer than two images, or one has no reference.
    """
    return Frequencies(hash_of_references(references), document_frequencies(references.values()))
