"""Captions of many images, from which CIDEr takes its document frequencies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.data.caption_files.source import STDIN
from dsacap.evaluation.inputs import Given, Reading, load_captions
from dsacap.scoring.frequencies import Frequencies, frequencies_of, shipped_frequencies
from dsacap.scoring.metrics.known_frequencies import known_files
from dsacap.scoring.score import tokenise


@dataclass(frozen=True)
class Corpus:
    """Captions that were read, or document frequencies that are shipped.

    Attributes:
        sha256: The hash of the file, which is read once; empty for a dictionary.
        captions: The captions of each image, or the name of frequencies that are shipped.
        tokenized: Whether the captions are PTB tokens already.
    """

    sha256: str
    captions: Sequence[list[str]] | str
    tokenized: bool

    def frequencies(self) -> Frequencies:
        """Return the document frequencies."""
        if isinstance(self.captions, str):
            return shipped_frequencies(self.captions)
        references = dict(enumerate(self.captions))
        return frequencies_of(references if self.tokenized else tokenise(references))


def load_corpus(given: Given | None, how: Reading) -> Corpus | None:
    """Read the captions that document frequencies are taken from.

    Args:
        given: The name of frequencies that are shipped, such as "coco-val2014"; or a file or a
            dictionary of references; None for no such captions.
        how: How references are read: `split` and `tokenized` count.

    Raises:
        UserError: There is no such file, it is malformed, or it has one image only.
    """
    if given is None:
        return None
    if isinstance(given, Path | str):
        if known := known_files().get(str(given)):
            return Corpus(sha256(known), str(given), False)
        if str(given) != STDIN and not Path(given).exists():
            raise UserError(
                f"document frequencies of {given}: no such file; give one with references, or the"
                f" name {' or '.join(known_files())}"
            )
    found = load_captions([given], how.split, "document frequencies")
    if len(found.by_image) < 2:
        raise UserError(f"{found.name}: has one image; document frequencies need those of many")
    return Corpus(found.sha256, list(found.by_image.values()), how.tokenized)
