import pytest

from dsacap.scoring.metrics.caption_faults import Lexicon, faults

LEXICON = Lexicon.of(
    [
        "dog dogs runs run running swims swimming jumps jumping car sports box boxes pony ponies",
        "man shirt child boat couple couples",
    ]
    * 5
    + ["cats cat"]
)


def test_the_lexicon_follows_from_the_captions():
    assert {"dogs", "boxes", "ponies", "men"} <= LEXICON.plural and {
        "dog",
        "box",
        "pony",
        "man",
    } <= LEXICON.singular
    assert {"runs", "swims", "jumps"} == LEXICON.verbs
    assert "cats" not in LEXICON.plural  # occurs once


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a a dog runs", {"doubled"}),
        ("the man in the a boat", {"doubled"}),
        ("a child is swims in the water", {"verbs"}),
        ("a dog runs jumps over it", {"verbs"}),
        ("a dogs playing in sand", {"number"}),
        ("two dog are running", {"number"}),
        ("a white and white dog runs", {"doubled"}),
        ("a brown and brown dogs are running", {"doubled", "number"}),
        ("a black dogs are running", {"number"}),
        ("dogs is running fast", {"number"}),
        ("the dog are running", {"number"}),
        ("a man in a red on a boat", {"fragment"}),
        ("a man wears a red", {"fragment"}),
        ("a man sits on a", {"fragment"}),
        ("a dog", {"fragment"}),
        ("", {"fragment"}),
        ("two dog is is", {"doubled", "verbs", "number", "fragment"}),
    ],
)
def test_faults_are_found(caption, expected):
    assert faults(caption, LEXICON) == expected


@pytest.mark.parametrize(
    "caption",
    [
        "a dog runs in the sand",
        "two dogs are running",
        "a sports car is on the road",
        "people in a boat are swimming",
        "a man and a dog are running",
        "a group of dogs is running",
        "a man in red jumps",
        "a man in a red shirt looks on",
        "two black dogs run",
        "a couple are running",
        "a black and white dog runs",
        "a man sits while a child stands by her",
        "two young brown and white dogs run",
    ],
)
def test_sound_captions_have_none(caption):
    assert faults(caption, LEXICON) == set()
