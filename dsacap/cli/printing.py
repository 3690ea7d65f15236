"""What `score` and `compare` print alike: the scale of scores, and signatures."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from dsacap.scoring.score import PERCENT
from dsacap.scoring.signature import split_shared

_FILES = "in --json, --csv and Python they are not (CIDEr 0..10, the others 0..1)"
_ALL = f"Scores are x100, as papers print them; {_FILES}."
_SOME = f"Scores with two decimals are x100, as papers print them; {_FILES}."


def is_percentage(metric: str) -> bool:
    """Say whether papers print a metric, or the best of k by it, x100."""
    return metric.split()[-1] in PERCENT


def scale_of(metrics: Collection[str]) -> str:
    """Return the sentence that says how the scores of these metrics are scaled."""
    return _ALL if all(map(is_percentage, metrics)) else _SOME


def signature_lines(signatures: Iterable[str]) -> Iterator[str]:
    """Yield the fields that all signatures share, then what each metric adds to them.

    Neighbours that add the same have one line, "BLEU-1 to BLEU-4|...".
    """
    shared, names, own = split_shared(signatures)
    yield "Signatures: scores are comparable only if theirs are the same. All of these share"
    yield f"  {'|'.join(shared)}"
    yield "and each adds"
    for fields, group in groupby(zip(names, own, strict=True), key=lambda one: one[1]):
        first, *others = [name for name, _ in group]
        label = f"{first} to {others[-1]}" if others else first
        yield "  " + "|".join([label, *fields])
