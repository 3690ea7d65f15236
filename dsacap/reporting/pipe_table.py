"""Tables in Markdown."""

from tabulate import tabulate


def markdown(headers: list[str], rows: list[list], texts: int = 1) -> str:
    """Return a pipe table.

    The first `texts` columns are aligned left, as is a second one of decodings; the others right.
    """
    left = max(texts, 2 if headers[1] == "Decoding" else 1)
    align = ["left"] * left + ["right"] * (len(headers) - left)
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align)
