"""This module tells a process whether it is one of several, and whether it is the first of them."""

import os


def launched() -> bool:
    """Whether this process is one of several."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Whether this process writes and shows what one of them has to: the first of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"
