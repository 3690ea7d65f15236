"""Text for people, whatever it contains and whatever their terminal can show."""

import io
import re
from typing import TextIO

_HALF = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace what UTF-8 cannot hold.

    File names may contain bytes that are not UTF-8, and JSON may contain half a surrogate pair.
    """
    return _HALF.sub("\ufffd", text)


def on_one_line(text: str) -> str:
    """Escape what would move the cursor or end the line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def never_fail_on(stream: TextIO) -> None:
    """Let a stream escape the characters that its encoding lacks, as in an ASCII terminal."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: "1 image", "25,010 captions".

    Args:
        count: The number.
        noun: The noun in the singular, whose plural ends in -s.
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
