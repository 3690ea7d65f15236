"""The units in which scores are shown: most of them x100, as papers print them."""

from dsacap.scoring.score import PERCENT

# Published scores are percentages, CIDEr included; counts and shares keep their own units.
_PERCENT = PERCENT | {"grammatical", "true", "novel"}
_UNITS = {"unique": "captions", "vocabulary": "words"}


def scale_of(metric: str) -> int:
    """Return the factor by which a stored score is multiplied where it is shown."""
    return 100 if metric.split("_")[-1] in _PERCENT else 1


def unit_of(metric: str) -> str:
    """Return the unit of a score where it is shown."""
    return "x100" if scale_of(metric) == 100 else _UNITS.get(metric, "ratio")
