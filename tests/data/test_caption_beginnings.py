from dsacap.data.caption_beginnings import WORDS, beginnings
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import UNK, Vocabulary


def example(image_id: int, *captions: str) -> Example:
    return Example(CaptionedImage(image_id, "test", "x.png", "test", captions), captions)


TRAIN = [example(1, "a red ring is left of a blue bar", "a ring and a bar are there now")]


def test_beginnings_differ_in_one_word_after_the_first():
    vocabulary = Vocabulary.of(TRAIN[0].tokens, 1)
    images = [example(i, "a red ring", "a red ring is left of a zebra") for i in range(40)]
    found = beginnings(images, TRAIN, vocabulary)
    assert found == beginnings(images[::-1], TRAIN, vocabulary)
    right = vocabulary.encode("a red ring is", WORDS)[:WORDS]
    changed = set()
    for first, wrong in found.values():
        places = [at for at in range(WORDS) if first[at] != wrong[at]]
        assert first == right and len(places) == 1 and min(wrong) > UNK
        changed.add((places[0], wrong[places[0]]))
    assert {place for place, _ in changed} == {1, 2, 3} and len(changed) > 10


def test_images_without_a_suitable_caption_are_left_out():
    vocabulary = Vocabulary.of(TRAIN[0].tokens, 1)
    assert (
        beginnings(
            [example(1, "a red ring is left of", "a green zebra is left of a bar")],
            TRAIN,
            vocabulary,
        )
        == {}
    )
