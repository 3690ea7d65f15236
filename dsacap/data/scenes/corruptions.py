"""Captions of scenes that are wrong in one respect: what a generator that is to judge captions must tell from right ones."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from dsacap.data.scenes.grammar import (
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    is_true,
    parse,
    plural,
)

_PLURALS = {plural(words[0]): tuple(map(plural, words)) for words in SHAPES.values()}
# Respect -> groups of phrases. One of a group may be exchanged for the first of another of the same respect.
_EXCHANGES: dict[str, list[Mapping[str, Sequence[str]]]] = {
    "colour": [COLOURS],
    "size": [SIZES],
    "shape": [SHAPES, _PLURALS],
    "position": [
        {phrase: (phrase,) for phrase in PLACES},
        {phrase: (phrase,) for phrase in RELATIONS},
    ],
}
RESPECTS = tuple(_EXCHANGES)


def corrupt(caption: str, scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    """A true tokenised `caption` of `scene` with one phrase exchanged, so that it is false, and the respect in which it is; None where
    no exchange makes it false.

    The respect is drawn first, or colours, of which captions are full, would crowd out the others.
    """
    for respect in rng.permutation(RESPECTS).tolist():
        wrong = [
            said
            for said in _exchanged(caption, respect)
            if (read := parse(said)) is not None and not is_true(read, scene)
        ]
        if wrong:
            return wrong[rng.integers(len(wrong))], respect
    return None


def _exchanged(caption: str, respect: str) -> list[str]:
    """All captions that differ from `caption` in one phrase of the respect."""
    found = []
    for table in _EXCHANGES[respect]:
        meaning = {phrase: key for key, phrases in table.items() for phrase in phrases}
        for match in re.finditer(rf"\b({'|'.join(meaning)})\b", caption):
            others = [phrases[0] for key, phrases in table.items() if key != meaning[match[0]]]
            found += [
                _with_article(caption[: match.start()] + other + caption[match.end() :])
                for other in others
            ]
    return found


def _with_article(caption: str) -> str:
    return re.sub(
        r"\ban? (\w+)", lambda found: ("an " if found[1] == "orange" else "a ") + found[1], caption
    )
