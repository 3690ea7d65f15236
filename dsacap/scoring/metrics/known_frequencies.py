"""Document frequencies of published captions, shipped with this package.

CIDEr of a few images means little with the document frequencies of their own references. For such
cases coco-caption has a file with those of COCO's val2014 captions (`coco-val-df.p`: "df", the
number of images of each n-gram, and "ref_len", the number of all images). A file of document
frequencies holds the same numbers. Its format is:

- one line of JSON: how many images there are and how many n-grams are listed, where the captions
  come from, and the SHA-256 of all bytes that follow;
- an object of JSON, compressed by xz: "words"; "keys", which has for each n the keys of
  `DocumentFrequencies`, ascending, each as the difference from the previous one; and "counts", the
  number of images of each.

An n-gram of one image weighs as much as one of no image, so those of two or more are listed only.
`build_known_frequencies.py` writes such files.
"""

import hashlib
import json
import lzma
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsacap.common.errors import UserError
from dsacap.common.files import replacing
from dsacap.scoring.metrics.document_frequencies import DocumentFrequencies
from dsacap.scoring.metrics.ngrams import count_ngrams, read_captions

FOLDER = Path(__file__).with_name("known")
SUFFIX = ".frequencies"


class KnownFrequencies(NamedTuple):
    """The contents of a file of document frequencies."""

    sha256: str  # of the frequencies, without the first line
    source: str
    table: DocumentFrequencies


def known_files() -> dict[str, Path]:
    """Return the shipped files by name."""
    return {path.stem: path for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}


@cache
def read_known_frequencies(path: Path) -> KnownFrequencies:
    """Read a file of document frequencies, which takes a quarter of a second.

    Raises:
        UserError: The file is damaged or cannot be read.
    """
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(first)
        if header["sha256"] != hashlib.sha256(body).hexdigest():
            raise ValueError("its SHA-256 is not the one in its first line")
        tables = json.loads(lzma.decompress(body))
        words = {word: number for number, word in enumerate(tables["words"])}
        frequencies = DocumentFrequencies(header["images"], words)
        for steps, counts in zip(tables["keys"], tables["counts"], strict=True):
            frequencies.add_counted(np.cumsum(steps, dtype=np.int64), np.array(counts, np.int64))
        return KnownFrequencies(header["sha256"], header["source"], frequencies)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: damaged ({error}); reinstall the package, or give a file of references"
        ) from None


def write_known_frequencies(path: Path, references: Iterable[Sequence[str]], source: str) -> int:
    """Write the document frequencies of a corpus.

    Args:
        path: The file to write; an existing one is replaced as a whole.
        references: The tokenised references of each image.
        source: Where the captions come from, and their licence, as information for people.

    Returns:
        How many n-grams the file lists.

    Raises:
        UserError: An image has no reference.
    """
    captions = read_captions(list(references), [], [])
    spelling, words = list(captions.vocabulary), []
    number_V = np.zeros(len(spelling), np.int64)  # of each word in the file
    number_G = np.zeros(1, np.int64)  # of each shorter n-gram in the file
    keys, counts = [], []
    for ngrams in count_ngrams(captions):
        frequency_G = ngrams.document_frequency_G
        # The beginning of an n-gram occurs wherever that does, so it is listed too.
        listed = np.flatnonzero(frequency_G > 1)
        if ngrams.n == 1:
            words = [spelling[word] for word in ngrams.word_G[listed]]
            number_V[ngrams.word_G[listed]] = np.arange(len(listed))
        prefix, word = number_G[ngrams.prefix_G[listed]], number_V[ngrams.word_G[listed]]
        ascending = (prefix * len(words) + word).tolist()
        keys.append([after - before for before, after in pairwise([0, *ascending])])
        counts.append(frequency_G[listed].tolist())
        number_G = np.zeros(len(frequency_G), np.int64)
        number_G[listed] = np.arange(len(listed))
    tables = {"words": words, "keys": keys, "counts": counts}
    text = json.dumps(tables, separators=(",", ":"))
    body = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    listed_ngrams = sum(map(len, counts))
    header = {"images": captions.images, "ngrams": listed_ngrams, "source": source}
    header["sha256"] = hashlib.sha256(body).hexdigest()
    with replacing(path) as temporary:
        temporary.write_bytes(json.dumps(header).encode() + b"\n" + body)
    return listed_ngrams
