"""SPICE tuples of the references of published data sets, shipped with this package.

The references of a published test split are the same for all users, and parsing them takes minutes.
A file of known tuples contains the parser's output for them. Its format is:

- one line of JSON: which parser made the tuples, how many captions there are, where they come from,
  and the SHA-256 of all bytes that follow;
- for each caption the first four bytes of its SHA-256, which show whether the rest of the file is
  needed;
- for each caption, in the same order, a line of JSON: the caption, then its tuples; all lines are
  compressed together by xz.

`build_known_tuples.py` writes such files. A file of another parser, or a damaged one, is not used.
"""

import hashlib
import json
import lzma
import sys
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dsacap.common.files import replacing
from dsacap.scoring.metrics.spice_tuples import Tuples

FOLDER = Path(__file__).with_name("known")
SUFFIX = ".tuples"
_DIGITS = 12  # hexadecimal digits, as in the other hashes of a signature
_KEY = np.dtype("<u4")  # two captions may share one: the caption itself is compared too


def known_tuples(captions: Iterable[str], parser: str) -> dict[str, Tuples]:
    """Look up captions in the shipped files. A file that contains none of them is not unpacked.

    Args:
        captions: Tokenised captions.
        parser: The parser whose tuples are wanted, as named in the cache of tuples.

    Returns:
        Caption -> tuples, for the captions that a file of this parser contains.
    """
    missing = dict.fromkeys(captions)
    found: dict[str, Tuples] = {}
    for path in _shipped(FOLDER):
        file = _read(path)
        if missing and file is not None and file.parser == parser:
            here = file.look_up(missing)
            found |= here
            missing = dict.fromkeys(caption for caption in missing if caption not in here)
    return found


def known_tuples_id() -> str:
    """Return the field that identifies the shipped files in a signature.

    It is a hash of their names and bytes, so it does not depend on what was parsed on this machine.
    """
    return _id_of(FOLDER)


def write_known_tuples(path: Path, tuples: Mapping[str, Tuples], parser: str, source: str) -> None:
    """Write a file of known tuples. Its bytes do not depend on the order of the captions.

    Args:
        path: The file to write; an existing one is replaced as a whole.
        tuples: Tokenised caption -> its tuples, in SPICE's order.
        parser: The parser that made them, as named in the cache of tuples.
        source: Where the captions come from, and their licence, as information for people.
    """
    captions = sorted(tuples)
    lines = [json.dumps([caption, *tuples[caption]], separators=(",", ":")) for caption in captions]
    packed = lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    body = _keys(captions).tobytes() + packed
    header = {"parser": parser, "captions": len(captions), "source": source}
    header["sha256"] = _sha256(body)
    with replacing(path) as temporary:
        temporary.write_bytes(json.dumps(header).encode() + b"\n" + body)


class KnownTuples:
    """The contents of an undamaged file of known tuples.

    Args:
        header: The first line of the file.
        body: All bytes after it.
    """

    def __init__(self, header: Mapping[str, Any], body: bytes) -> None:
        self.parser, self.source, captions = header["parser"], header["source"], header["captions"]
        self._keys = np.frombuffer(body, _KEY, captions)
        self._packed = body[captions * _KEY.itemsize :]

    def look_up(self, captions: Iterable[str]) -> dict[str, Tuples]:
        """Return caption -> tuples, for the captions that the file contains."""
        wanted = list(captions)
        hits = np.flatnonzero(np.isin(self._keys, _keys(wanted)))
        found = self._parsed(hits.tolist())
        return {caption: found[caption] for caption in wanted if caption in found}

    def captions(self) -> list[str]:
        """Return all captions of the file, sorted."""
        return list(self._parsed(range(len(self._keys))))

    def _parsed(self, places: Iterable[int]) -> dict[str, Tuples]:
        rows = (json.loads(self._lines[place]) for place in places)
        return {caption: tuples for caption, *tuples in rows}

    @cached_property
    def _lines(self) -> list[bytes]:
        return lzma.decompress(self._packed).split(b"\n")


def read_known_tuples(path: Path) -> KnownTuples:
    """Read a file of known tuples, leaving the tuples themselves packed.

    Raises:
        ValueError: The file is damaged.
        OSError: The file cannot be read.
    """
    first, _, body = path.read_bytes().partition(b"\n")
    header = json.loads(first)
    if header["sha256"] != _sha256(body):
        raise ValueError("its SHA-256 is not the one in its first line")
    return KnownTuples(header, body)


@cache
def _read(path: Path) -> KnownTuples | None:
    """Read a file; return None, with a warning, if it is damaged."""
    try:
        return read_known_tuples(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        advice = "its captions are parsed instead; reinstall the package to save that time"
        print(f"warning: {path}: damaged ({error}); {advice}", file=sys.stderr)
        return None


@cache
def _id_of(folder: Path) -> str:
    hashes = [[path.name, _sha256(path.read_bytes())] for path in _shipped(folder)]
    return f"sha256:{_sha256(json.dumps(hashes).encode())[:_DIGITS]}"


def _shipped(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def _keys(captions: Iterable[str]) -> np.ndarray:
    digests = (hashlib.sha256(caption.encode(errors="replace")).digest() for caption in captions)
    return np.frombuffer(b"".join(digest[: _KEY.itemsize] for digest in digests), _KEY)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
