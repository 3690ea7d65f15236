"""The text of a file, a pipe or standard input, read once."""

import gzip
import hashlib
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from dsacap.common.errors import UserError

STDIN = "-"

# A byte order mark says which encoding follows. UTF-32's begins like UTF-16's, so it comes first.
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_OTHERS = {
    b"PK\x03\x04": "a zip archive, not text; unpack it",
    b"BZh": "compressed by bzip2; unpack it",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard; unpack it",
    b"\x80\x04": "a pickle, which could run any code; write the captions as JSON",
    b"\x93NUMPY": "an array of numpy, not text; write the captions as JSON",
    b"PAR1": "a Parquet file, not text; write the captions as JSON or CSV",
}


@dataclass(frozen=True)
class Source:
    """What was read.

    Attributes:
        name: The name of the file, for messages.
        text: Its text, uncompressed and decoded.
        sha256: The hash of its bytes as they were read.
    """

    name: str
    text: str
    sha256: str


def read_source(path: Path) -> Source:
    """Read a text file, which may be gzipped, or a pipe, or standard input if `path` is `-`.

    Args:
        path: The file. It is read once, from its beginning to its end.

    Raises:
        UserError: It cannot be read, or is not text in UTF-8, or in UTF-16 or UTF-32 with a mark.
    """
    name = "standard input" if str(path) == STDIN else str(path)
    data = _bytes_of(path, name)
    digest = hashlib.sha256(data).hexdigest()
    return Source(name, _decoded(_unpacked(data, name), name), digest)


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        if str(path) != STDIN:
            return path.read_bytes()
        if sys.stdin.isatty():
            raise UserError(
                f"{name}: is a terminal; pipe a file into it, as in `zcat FILE | ... -`"
            )
        return sys.stdin.buffer.read()
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{name}: is a folder; give a file of captions") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{name}: cannot be read: {reason}") from None


def _unpacked(data: bytes, name: str) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{name}: gzip data that cannot be unpacked: {error}") from None


def _decoded(data: bytes, name: str) -> str:
    for magic, found in _OTHERS.items():
        if data.startswith(magic):
            raise UserError(f"{name}: is {found}")
    encoding = next((e for mark, e in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{name}:{line}: byte {error.start} is not {encoding.upper()} text;"
            " if the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8 FILE"
        ) from None
    if "\0" in text:
        raise UserError(f"{name}: is not text: it contains NUL characters")
    return text
