"""The language of the scenes: how reference captions are written, parsed and checked.

Captions are generated and parsed by the same phrase tables, so two scores are exact by
construction: whether a caption is *grammatical* (it parses), and whether it is *true* (its mentions
fit different objects of the scene, and every attribute, place and relation holds). After PTB
tokenisation, which puts it in lower case and drops punctuation, a caption is

    caption    = [opening] item {item} ["and" item] [background]
    item       = mention [place | relation mention]
    mention    = "a" [size] [colour] shape | number [size] [colour] shapes
    opening    = "there is" | "there are" | "a picture of"
    background = ("on" | "against") "a" COLOUR "background"

Before tokenisation, items are separated by commas.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

SHAPES = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "bar": ("bar", "stripe"),
}
SIZES = {"large": ("big", "large"), "small": ("small", "tiny")}
COLOURS = {
    "red": ("red",),
    "green": ("green",),
    "blue": ("blue",),
    "yellow": ("yellow",),
    "purple": ("purple", "violet"),
    "orange": ("orange",),
}
BACKGROUNDS = ("white", "grey", "black", "brown")
NUMBERS = {"two": 2, "three": 3, "four": 4}
# A quadrant is (row, column), with row 0 at the top; None allows both rows or columns.
PLACES: dict[str, tuple[int | None, int | None]] = {
    "in the top left": (0, 0),
    "in the top right": (0, 1),
    "in the bottom left": (1, 0),
    "in the bottom right": (1, 1),
    "at the top": (0, None),
    "at the bottom": (1, None),
    "on the left": (None, 0),
    "on the right": (None, 1),
}
# (axis, sign) of the difference between the quadrants of the first thing and the second.
RELATIONS = {
    "above": (0, -1),
    "below": (0, 1),
    "to the left of": (1, -1),
    "to the right of": (1, 1),
}


@dataclass(frozen=True)
class Thing:
    """One object of a scene; `quadrant` is (row, column)."""

    shape: str
    colour: str
    size: str
    quadrant: tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """The content of a picture."""

    background: str
    things: tuple[Thing, ...]


@dataclass
class Mention:
    """A noun phrase: `count` things with the same attributes, None where it names none."""

    shape: str
    colour: str | None = None
    size: str | None = None
    count: int = 1
    place: str | None = None

    def fits(self, thing: Thing) -> bool:
        """Return whether the phrase describes a thing."""
        if (
            thing.shape != self.shape
            or self.colour not in (None, thing.colour)
            or self.size not in (None, thing.size)
        ):
            return False
        return self.place is None or _within(thing, self.place)


@dataclass
class Description:
    """A parsed caption.

    Attributes:
        mentions: Its noun phrases in order.
        relations: (index of a mention, phrase, index of a mention).
        background: The colour of the background, if it is mentioned.
    """

    mentions: list[Mention] = field(default_factory=list)
    relations: list[tuple[int, str, int]] = field(default_factory=list)
    background: str | None = None


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Write one reference caption of a scene, as one of many annotators might.

    The generator draws what is mentioned (three things at most), its order and its words, and
    whether places, a relation or the background are given. Large things tend to come first. The
    caption is not tokenised; it may end with a full stop.
    """
    things = sorted(scene.things, key=lambda t: (t.size != "large", t.quadrant))
    if rng.random() < 0.2:
        rng.shuffle(things)
    style = ("list", "places", "relation")[np.searchsorted((0.15, 0.55), rng.random())]
    with_size = rng.random() < (0.25 if style == "places" else 0.45)
    mentioned = 3 if rng.random() < 0.45 else 2
    things = things[:mentioned]

    items: list[str] = []
    first_is_plural = False
    while things:
        thing = things.pop(0)
        twins = [
            t
            for t in things
            if (t.shape, t.colour) == (thing.shape, thing.colour)
            and (not with_size or t.size == thing.size)
        ]
        if style == "relation" and things and not items:
            other = things.pop(0)
            subject = _noun_phrase(thing, 1, with_size, rng)
            relation = _relation_between(thing, other, rng)
            item = f"{subject} {relation} {_noun_phrase(other, 1, with_size, rng)}"
        else:
            group = [thing, *twins] if twins and rng.random() < 0.7 else [thing]
            things = [t for t in things if t not in group]
            first_is_plural |= not items and len(group) > 1
            item = _noun_phrase(thing, len(group), with_size, rng)
            place = _place_of(group, rng)
            if style == "places" and place and rng.random() < 0.75:
                item += f" {place}"
        items.append(item)

    caption = items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
    opening = rng.random()
    if opening < 0.15:
        caption = f"{'there are' if first_is_plural else 'there is'} {caption}"
    elif opening < 0.25:
        caption = f"a picture of {caption}"
    if rng.random() < 0.45:
        caption += f" {'on' if rng.random() < 0.7 else 'against'} a {scene.background} background"
    return caption[0].upper() + caption[1:] + ("." if rng.random() < 0.5 else "")


def _noun_phrase(thing: Thing, count: int, with_size: bool, rng: np.random.Generator) -> str:
    words = ["a" if count == 1 else next(word for word, n in NUMBERS.items() if n == count)]
    if with_size:
        words.append(_pick(SIZES[thing.size], rng))
    if rng.random() < 0.95:
        words.append(_pick(COLOURS[thing.colour], rng))
    elif words[-1] == "a":
        words += [_pick(SIZES[thing.size], rng)]
    shape = _pick(SHAPES[thing.shape], rng)
    if words == ["a", "orange"]:
        words[0] = "an"
    return " ".join([*words, shape if count == 1 else plural(shape)])


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    """Draw one of the synonyms, the first more often."""
    return words[0] if len(words) == 1 or rng.random() < 0.7 else words[1]


def _place_of(things: Sequence[Thing], rng: np.random.Generator) -> str | None:
    """Return the most exact place that all things share, or sometimes a wider one."""
    fitting = [place for place in PLACES if all(_within(thing, place) for thing in things)]
    if not fitting:
        return None
    return (
        fitting[0]
        if len(fitting) == 1 or rng.random() < 0.7
        else fitting[rng.integers(1, len(fitting))]
    )


def _relation_between(a: Thing, b: Thing, rng: np.random.Generator) -> str:
    holding = [phrase for phrase in RELATIONS if _related(a, phrase, b)]
    return holding[rng.integers(len(holding))]


def plural(noun: str) -> str:
    """Return the plural of a noun."""
    return noun + ("es" if noun.endswith(("x", "ss", "us")) else "s")


def _lookup(table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {word: meaning for meaning, words in table.items() for word in words}


_SHAPE_OF, _SIZE_OF, _COLOUR_OF = _lookup(SHAPES), _lookup(SIZES), _lookup(COLOURS)
_PLURAL_OF = {plural(word): shape for word, shape in _SHAPE_OF.items()}


class _Reader:
    """A cursor over the words of a caption.

    Each method consumes what it is named after, or leaves the cursor where it is and returns None.
    """

    def __init__(self, words: list[str]):
        self.words, self.at = words, 0

    def phrase(self, phrases: Sequence[str]) -> str | None:
        for phrase in phrases:
            parts = phrase.split()
            if self.words[self.at : self.at + len(parts)] == parts:
                self.at += len(parts)
                return phrase
        return None

    def word(self, meanings: dict[str, str]) -> str | None:
        if self.at < len(self.words) and self.words[self.at] in meanings:
            self.at += 1
            return meanings[self.words[self.at - 1]]
        return None

    def mention(self) -> Mention | None:
        start = self.at
        number = self.phrase(("a", "an", *NUMBERS))
        size, colour = self.word(_SIZE_OF), self.word(_COLOUR_OF)
        count = NUMBERS.get(number, 1) if number else 0
        shape = self.word(_PLURAL_OF if count > 1 else _SHAPE_OF)
        before_orange = count == 1 and size is None and colour == "orange"
        if not count or shape is None or (count == 1 and (number == "an") != before_orange):
            self.at = start
            return None
        return Mention(shape, colour, size, count)


def parse(caption: str) -> Description | None:
    """Parse a tokenised caption.

    Args:
        caption: PTB tokens joined by spaces.

    Returns:
        The description; None if the grammar does not cover the caption to its last word.
    """
    reader, result = _Reader(caption.split()), Description()
    opening = reader.phrase(("there is", "there are", "a picture of"))
    closed = False  # whether "and" was read, after which comes the last item
    while True:
        mention = reader.mention()
        if mention is None:
            return None
        result.mentions.append(mention)
        relation = reader.phrase(tuple(RELATIONS))
        if relation:
            other = reader.mention()
            if other is None:
                return None
            result.mentions.append(other)
            result.relations.append((len(result.mentions) - 2, relation, len(result.mentions) - 1))
            items_end = other
        else:
            mention.place = reader.phrase(tuple(PLACES))
            items_end = mention
        if closed or reader.at == len(reader.words):
            break
        if reader.phrase(("and",)):
            closed = True
        elif reader.words[reader.at] in ("on", "against"):
            break
    several_items = len(result.mentions) - len(result.relations) > 1
    if items_end is None or (several_items and not closed):
        return None
    if opening in ("there is", "there are") and (opening == "there are") != (
        result.mentions[0].count > 1
    ):
        return None
    if reader.phrase(("on a", "against a")):
        result.background = reader.phrase(BACKGROUNDS)
        if result.background is None or not reader.phrase(("background",)):
            return None
    return result if reader.at == len(reader.words) else None


def _within(thing: Thing, place: str) -> bool:
    return all(
        want in (None, have) for want, have in zip(PLACES[place], thing.quadrant, strict=True)
    )


def _related(a: Thing, phrase: str, b: Thing) -> bool:
    axis, sign = RELATIONS[phrase]
    return sign * (a.quadrant[axis] - b.quadrant[axis]) > 0


def is_true(description: Description, scene: Scene) -> bool:
    """Return whether a caption is true of a scene.

    Args:
        description: The parsed caption.
        scene: The scene.

    Returns:
        Whether the mentions can be assigned to different things of the scene such that the
        background and all attributes, places and relations hold.
    """
    if description.background not in (None, scene.background):
        return False
    slots = [
        (i, mention) for i, mention in enumerate(description.mentions) for _ in range(mention.count)
    ]
    for chosen in _assignments(slots, scene.things):
        named: dict[int, list[Thing]] = {}
        for (i, _), thing in zip(slots, chosen, strict=True):
            named.setdefault(i, []).append(thing)
        if all(
            _related(a, phrase, b)
            for i, phrase, j in description.relations
            for a in named[i]
            for b in named[j]
        ):
            return True
    return False


def _assignments(
    slots: Sequence[tuple[int, Mention]], things: tuple[Thing, ...]
) -> Iterator[tuple[Thing, ...]]:
    """Yield all ways to assign a fitting thing to each slot, no thing twice."""
    if not slots:
        yield ()
        return
    for i, thing in enumerate(things):
        if slots[0][1].fits(thing):
            for rest in _assignments(slots[1:], things[:i] + things[i + 1 :]):
                yield (thing, *rest)
