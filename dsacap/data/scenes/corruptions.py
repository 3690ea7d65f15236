"""Captions of scenes that are wrong in one respect.

A generator that is to judge captions must distinguish them from right ones.
"""

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
# For each respect, tables of meanings and their phrases. A phrase may be exchanged for the first
# phrase of another meaning in the same table.
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
    """Exchange one phrase of a true caption, so that it becomes false.

    The respect is drawn first; otherwise colours, which are the most frequent words, would crowd
    out the others.

    Args:
        caption: A tokenised caption that is true of the scene.
        scene: The scene.
        rng: The generator that draws the respect and the phrase.

    Returns:
        The false caption, and the respect in which it is false, one of `RESPECTS`; None if no
        exchange makes it false.
    """
    for respect in rng.permutation(RESPECTS).tolist():
        wrong = [
            changed
            for changed in _exchanged(caption, respect)
            if (description := parse(changed)) is not None and not is_true(description, scene)
        ]
        if wrong:
            return wrong[rng.integers(len(wrong))], respect
    return None


def _exchanged(caption: str, respect: str) -> list[str]:
    """Return all captions that differ from `caption` in one phrase of the respect."""
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
