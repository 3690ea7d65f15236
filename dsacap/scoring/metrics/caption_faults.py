"""Faults of grammar that rules can find: words doubled, two verbs in a row, wrong number, phrases that stop short.

Not a parser: what it flags was read by eye (docs/photos.md says how often it is right), and what it misses is missed for every system
alike. Which words are nouns and verbs follows from the train captions: "runs" is a verb since "running" is said too, "dogs" a plural
since "dog" is and "doging" is not.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

FAULTS = ("doubled", "verbs", "number", "fragment")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ARTICLES = _set("a an the")
_DETERMINERS = _ARTICLES | _set("his her its their")
_BE = _set("is are was were")
_ONE, _SEVERAL = _set("a an another one"), _set("two three four five six several many")
_PREPOSITIONS = _set(
    "across against along around as at behind beside by down for from in inside into near next of off on onto out over outside past "
    "through to toward towards under up while with"
)
_CONJUNCTIONS = _set("and or but")
_COLOURS = _set("black blue brown gray green grey orange pink purple red white yellow")
_ADJECTIVES = _COLOURS | _set("big large little old small young")
_COLLECTIVE = _set("couple crowd family group pair team")  # "are" is right too
_IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people"}
_OPEN = _ARTICLES | _BE | _CONJUNCTIONS | _set("his its their of with from into")
_SHORTEST = 3  # words of a whole caption


@dataclass(frozen=True)
class Lexicon:
    """Words by what they are: plural nouns, singular nouns, and verbs in the third person ("runs")."""

    plural: frozenset[str]
    singular: frozenset[str]
    verbs: frozenset[str]

    @classmethod
    def of(cls, captions: Iterable[str], at_least: int = 5) -> "Lexicon":
        """From tokenised captions; a word counts where it is said `at_least` so often."""
        times = Counter(word for caption in captions for word in caption.split())
        words = {word for word, n in times.items() if n >= at_least}
        verbs = {word for word in words if any(_progressive(stem) & words for stem in _stems(word))}
        found = {
            word: next((stem for stem in _stems(word) if stem in words), None)
            for word in words - verbs
        }
        plurals = {word: stem for word, stem in found.items() if stem}
        return cls(
            frozenset(plurals) | frozenset(_IRREGULAR.values()),
            frozenset(plurals.values()) | frozenset(_IRREGULAR),
            frozenset(verbs - _BE),
        )


def faults(caption: str, lexicon: Lexicon) -> set[str]:
    """Which of FAULTS a tokenised caption has."""
    words = caption.split()
    found = {
        name
        for name, has in zip(FAULTS, (_doubled, _verbs, _number, _fragment), strict=True)
        if has(words, lexicon)
    }
    return found | ({"fragment"} if len(words) < _SHORTEST else set())


def stops_short(words: Sequence[str]) -> bool:
    """Whether the last word is one that more must follow."""
    return bool(words) and words[-1] in _OPEN


def _doubled(words: Sequence[str], lexicon: Lexicon) -> bool:
    """A word twice in a row or beside an "and", or a determiner before an article: "a a", "white and white", "the a"."""
    twice = any(a == b or (a in _DETERMINERS and b in _ARTICLES) for a, b in pairwise(words))
    return twice or any(
        a == c and b in _CONJUNCTIONS for a, b, c in zip(words, words[1:], words[2:], strict=False)
    )


def _verbs(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Two finite verbs in a row: "is swims", "runs jumps", "plays is"."""
    finite = [word in _BE or word in lexicon.verbs for word in words]
    return any(a and b for a, b in pairwise(finite))


def _number(words: Sequence[str], lexicon: Lexicon) -> bool:
    """ "a brown dogs", "two dog", "dogs is", "dog are". Before a word that could be their noun ("a sports car"), or where something else
    could be the subject ("people in a boat are"), nothing is said."""
    plain = [word for word in words if word not in _ADJECTIVES]
    plain = [
        word
        for at, word in enumerate(plain)
        if not (word == "and" and plain[at - 1 : at] and plain[at - 1] in _ONE | _SEVERAL)
    ]
    for at, (a, b) in enumerate(pairwise(plain)):
        after = plain[at + 2] if at + 2 < len(plain) else None
        closed = (
            after is None
            or after in _BE | _PREPOSITIONS | _CONJUNCTIONS | lexicon.verbs
            or after.endswith("ing")
        )
        if closed and (
            (a in _ONE and b in lexicon.plural) or (a in _SEVERAL and b in lexicon.singular)
        ):
            return True
        alone = not (_PREPOSITIONS | _CONJUNCTIONS) & set(plain[:at])
        if alone and (
            (a in lexicon.plural and b in {"is", "was"})
            or (a in lexicon.singular - _COLLECTIVE and b in {"are", "were"})
        ):
            return True
    return False


def _fragment(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Ends where more must come ("on a", "and", "is"), or a phrase lacks its noun: "in a red on"."""
    phrases = zip(words, words[1:], [*words[2:], "on"], strict=False)
    return stops_short(words) or any(
        a in _DETERMINERS
        and (
            b in _PREPOSITIONS | _CONJUNCTIONS | _BE or (b in _COLOURS and c in _PREPOSITIONS | _BE)
        )
        for a, b, c in phrases
    )


def _stems(word: str) -> list[str]:
    """What `word` may be the -s form of."""
    if not word.endswith("s") or len(word) < 4 or word.endswith("ss"):
        return []
    return [
        word[:-1],
        *([word[:-2]] if word.endswith("es") else []),
        *([word[:-3] + "y"] if word.endswith("ies") else []),
    ]


def _progressive(stem: str) -> set[str]:
    """What the -ing form of a verb may be."""
    return {
        stem + "ing",
        stem + stem[-1] + "ing",
        *([stem[:-1] + "ing"] if stem.endswith("e") else []),
    }
