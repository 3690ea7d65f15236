import pytest

from dsacap.data.caption_files.oddities import oddities


@pytest.mark.parametrize(
    ("caption", "what"),
    [
        (" ", "is empty"),
        ("nan", "write for a missing one"),
        ("NA", "write for a missing one"),
        (" None", "write for a missing one"),
        ("...", "no Latin letter"),
        ("一个男人", "no Latin letter"),
        ("a\nb", "line break"),
        ("a\u2028b", "line break"),
        ("a \ud83d b", "half a surrogate pair"),
        *((f"a {token} b", "special tokens") for token in ("<start>", "</s>", "[PAD]", "startseq")),
        ("<s>a b<|endoftext|>", "special tokens"),
    ],
)
def test_oddities_are_noted_with_an_example(caption, what):
    [note] = oddities({1: ["a plain caption < 3"], 77: [caption]})
    assert what in note and ": 77" in note and "1 image has" in note
    assert oddities({1: ["a plain caption"]}) == []


def test_an_id_of_any_length_is_named_in_part():
    [note] = oddities({"x" * 5000: [""]})
    assert len(note) < 200 and "is empty" in note
