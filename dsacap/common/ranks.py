"""The place of this process among those that train together, from the launcher's environment."""

import os


def launched() -> bool:
    """Return whether a launcher started this process as one of several."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Return whether this process writes and reports for all: the only one, or the first."""
    return os.environ.get("RANK", "0") == "0"
