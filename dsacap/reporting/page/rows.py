"""The rows of a page as plain data: their captions, scores and marks, and how they are drawn.

Captions repeat, so each is stored once in `texts` and referenced by index. Captions, scores and
marks are lists of rows in the order of `rows`, each a list in the order of `images`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dsacap.reporting.page.marks import Captions, Marks
from dsacap.reporting.series_style import MARKERS, styles_of
from dsacap.reporting.units import scale_of

SCORES = ("CIDEr", "SPICE", "METEOR", "BLEU-4", "true")  # by which images are sorted


def of_rows(
    rows: Sequence[dict[str, Any]],
    captions: Sequence[Captions],
    scores: Sequence[Mapping[str, Mapping[int, float]]],
    images: Sequence[int],
    marks: Marks | None,
) -> dict[str, Any]:
    """Return the part of the content that the view of photos shows.

    Args:
        rows: The names of each row.
        captions: The captions of each row.
        scores: Metric -> image -> score, of each row.
        images: The images, in the order of the page.
        marks: The marks of the captions, if there are any.
    """
    texts: dict[str, int] = {}
    return {
        "rows": list(rows),
        "metrics": [metric for metric in SCORES if any(metric in of for of in scores)],
        "captions": [
            [[texts.setdefault(t, len(texts)) for t in by_image[i]] for i in images]
            for by_image in captions
        ],
        "scores": [
            {metric: [values.get(i) for i in images] for metric, values in of.items()}
            for of in scores
        ],
        "marks": vars(marks) if marks else None,
        "texts": list(texts),
    }


def styles(labels: Mapping[str, str]) -> dict[str, Any]:
    """Return how each system is named and drawn, and the outlines of the markers."""
    return {
        "systems": [
            {"system": system, "label": labels[system], **vars(style)}
            for system, style in styles_of(labels).items()
        ],
        "markers": MARKERS,
    }


def per_image(parts: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Return the scores of a decoding by metric and image id, scaled as in the tables."""
    found = {
        metric: parts["quality"][metric]["per_image"]
        for metric in SCORES
        if metric in parts["quality"]
    }
    return {
        m: {int(i): round(scale_of(m) * value, 1) for i, value in by_image.items()}
        for m, by_image in found.items()
        if by_image
    }
