"""Text that may contain file names, for printing."""


def printable(text: str) -> str:
    """Replace what cannot be printed: file names may contain bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
