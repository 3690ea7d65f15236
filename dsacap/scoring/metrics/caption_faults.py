"""Grammatical faults that rules can find in captions.

They are doubled words, two verbs in a row, wrong number, and phrases that stop short. The rules are
not a parser: what they flag was checked by eye (docs/photos.md reports how often they are right),
and what they miss, they miss for every system alike. Which words are nouns and verbs follows from
the training captions: "runs" is a verb because "running" occurs too, and "dogs" is a plural because
"dog" occurs and "doging" does not.
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
    "across against along around as at behind beside by down for from in inside into near next of"
    " off on onto out over outside past through to toward towards under up while with"
)
_CONJUNCTIONS = _set("and or but")
_COLOURS = _set("black blue brown gray green grey orange pink purple red white yellow")
_ADJECTIVES = _COLOURS | _set("big large little old small young")
_COLLECTIVE = _set("couple crowd family group pair team")  # may be followed by "are" as well
_IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people"}
_OPEN = _ARTICLES | _BE | _CONJUNCTIONS | _set("his its their of with from into")
_SHORTEST = 3  # fewest words of a complete caption


@dataclass(frozen=True)
class Lexicon:
    """Words by their part of speech."""

    plural: frozenset[str]  # nouns
    singular: frozenset[str]  # nouns
    verbs: frozenset[str]  # in the third person ("runs")

    @classmethod
    def of(cls, captions: Iterable[str], at_least: int = 5) -> "Lexicon":
        """Derive the lexicon from captions.

        Args:
            captions: Tokenised captions.
            at_least: Words that occur less often are ignored.
        """
        times = Counter(word for caption in captions for word in caption.split())
        words = {word for word, n in times.items() if n >= at_least}
        verbs = {word for word in words if any(_progressive(stem) & words for stem in _stems(word))}
        known_stems = {
            word: next((stem for stem in _stems(word) if stem in words), None)
            for word in words - verbs
        }
        plurals = {word: stem for word, stem in known_stems.items() if stem}
        return cls(
            frozenset(plurals) | frozenset(_IRREGULAR.values()),
            frozenset(plurals.values()) | frozenset(_IRREGULAR),
            frozenset(verbs - _BE),
        )


def faults(caption: str, lexicon: Lexicon) -> set[str]:
    """Return which of `FAULTS` a caption has.

    Args:
        caption: A tokenised caption.
        lexicon: The parts of speech of words.
    """
    words = caption.split()
    found = {
        name
        for name, has in zip(FAULTS, (_doubled, _verbs, _number, _fragment), strict=True)
        if has(words, lexicon)
    }
    return found | ({"fragment"} if len(words) < _SHORTEST else set())


def stops_short(words: Sequence[str]) -> bool:
    """Return whether the last word requires another one after it."""
    return bool(words) and words[-1] in _OPEN


def _doubled(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Find a repeated word or a determiner before an article.

    Examples are "a a", "white and white" and "the a".
    """
    twice = any(a == b or (a in _DETERMINERS and b in _ARTICLES) for a, b in pairwise(words))
    return twice or any(
        a == c and b in _CONJUNCTIONS for a, b, c in zip(words, words[1:], words[2:], strict=False)
    )


def _verbs(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Find two finite verbs in a row: "is swims", "runs jumps", "plays is"."""
    finite = [word in _BE or word in lexicon.verbs for word in words]
    return any(a and b for a, b in pairwise(finite))


def _number(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Find wrong number: "a brown dogs", "two dog", "dogs is", "dog are".

    It is not judged before a word that could be the noun ("a sports car"), nor if something else
    could be the subject ("people in a boat are").
    """
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
    """Find an early end ("on a", "and", "is"), or a phrase without its noun ("in a red on")."""
    phrases = zip(words, words[1:], [*words[2:], "on"], strict=False)
    return stops_short(words) or any(
        a in _DETERMINERS
        and (
            b in _PREPOSITIONS | _CONJUNCTIONS | _BE or (b in _COLOURS and c in _PREPOSITIONS | _BE)
        )
        for a, b, c in phrases
    )


def _stems(word: str) -> list[str]:
    """Return the words that `word` may be the -s form of."""
    if not word.endswith("s") or len(word) < 4 or word.endswith("ss"):
        return []
    return [
        word[:-1],
        *([word[:-2]] if word.endswith("es") else []),
        *([word[:-3] + "y"] if word.endswith("ies") else []),
    ]


def _progressive(stem: str) -> set[str]:
    """Return the possible -ing forms of a verb."""
    return {
        stem + "ing",
        stem + stem[-1] + "ing",
        *([stem[:-1] + "ing"] if stem.endswith("e") else []),
    }
