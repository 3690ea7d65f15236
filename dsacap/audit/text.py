"""Text for a terminal."""

import shutil
import textwrap
from collections.abc import Iterable

_WIDEST = 140
_SHOWN = 4  # names in a list


def wrapped(text: str, indent: str = "") -> str:
    """Wrap a paragraph to the width of the terminal.

    Args:
        text: The paragraph. Long words, such as names and hashes, are not cut.
        indent: What all lines but the first begin with.

    Returns:
        The lines, joined.
    """
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    return "\n".join(
        textwrap.wrap(
            text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    )


def short(commit: str | None) -> str:
    """Return the first digits of a commit's hash, or "unknown"."""
    return (commit or "unknown")[:8]


def listed(files: Iterable[str]) -> str:
    """Return the first few files as text, and how many more there are."""
    files = list(files)
    return ", ".join(files[:_SHOWN]) + (
        f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    )
