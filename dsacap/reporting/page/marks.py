"""The marks of each caption by itself: whether it is true, or which faults it has.

Captions of generated scenes are checked exactly. For photographs there are the rules that find
faults of grammar (dsacap/scoring/metrics/caption_faults.py); they say nothing of its truth.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dsacap.data.scenes.grammar import Scene, is_true, parse
from dsacap.scoring.metrics.caption_faults import FAULTS, Lexicon, faults
from dsacap.text.ptb_tokenizer import ptb_tokenize

Captions = Mapping[int, Sequence[str]]  # image id -> captions
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TRUE, _FALSE, _UNGRAMMATICAL = range(3)
_IN_WORDS = {
    "doubled": "a doubled word",
    "verbs": "two verbs in a row",
    "number": "a wrong number",
    "fragment": "an unfinished phrase",
}


@dataclass(frozen=True)
class Marks:
    """The marks of the captions of several rows.

    Attributes:
        kind: "truth" or "faults".
        names: What each mark says. The first one is that of a good caption.
        rows: For each row and image, a digit (base 36) for each caption: its place in `names`.
    """

    kind: str
    names: list[str]
    rows: list[list[str]]


def truth(rows: Iterable[Captions], images: Sequence[int], scenes: Mapping[int, Scene]) -> Marks:
    """Judge each caption of generated scenes against what its image shows."""
    rows = list(rows)
    described = {text: parse(tokens) for text, tokens in _tokens(rows, images).items()}

    def mark(image: int, text: str) -> int:
        if (description := described[text]) is None:
            return _UNGRAMMATICAL
        return _TRUE if is_true(description, scenes[image]) else _FALSE

    names = ["true", "false", "not grammatical, so not true"]
    return Marks("truth", names, _marked(rows, images, mark))


def grammar(rows: Iterable[Captions], images: Sequence[int], train: Iterable[str]) -> Marks:
    """Look for faults of grammar in each caption.

    Args:
        rows: The captions of each row.
        images: The images, in the order of the result.
        train: Tokenised captions, by which parts of speech are known.
    """
    rows, lexicon = list(rows), Lexicon.of(train)
    found = {text: faults(tokens, lexicon) for text, tokens in _tokens(rows, images).items()}
    fault_of = {
        text: ", ".join(_IN_WORDS[name] for name in FAULTS if name in of_text)
        for text, of_text in found.items()
    }
    names = ["no fault found", *sorted(set(fault_of.values()) - {""})]
    place = {name: at for at, name in enumerate(names)} | {"": 0}
    return Marks("faults", names, _marked(rows, images, lambda _, text: place[fault_of[text]]))


def _tokens(rows: Iterable[Captions], images: Iterable[int]) -> dict[str, str]:
    """Each distinct caption, tokenised."""
    images = list(images)
    distinct = list(dict.fromkeys(text for row in rows for image in images for text in row[image]))
    return dict(zip(distinct, ptb_tokenize(distinct), strict=True))


def _marked(
    rows: Iterable[Captions], images: Sequence[int], mark: Callable[[int, str], int]
) -> list[list[str]]:
    return [
        ["".join(_DIGITS[mark(image, text)] for text in row[image]) for image in images]
        for row in rows
    ]
