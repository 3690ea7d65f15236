"""Lines for a terminal."""

import shutil
import textwrap

_WIDEST = 140


def wrapped(text: str, indent: str = "") -> str:
    """One paragraph in the terminal's width, its further lines indented. Names and hashes are not cut."""
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    return "\n".join(
        textwrap.wrap(
            text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    )
