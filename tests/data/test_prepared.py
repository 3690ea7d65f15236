import pytest

from dsacap.common.errors import UserError
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import load_examples, load_vocabulary, prepare
from dsacap.text.vocabulary import EOS, PAD, UNK, Vocabulary


def image(image_id: int, split: str, *captions: str) -> CaptionedImage:
    return CaptionedImage(image_id, f"{image_id}.png", "photos", split, captions)


def test_vocabulary_has_the_frequent_words_of_the_train_split(tmp_path):
    images = [
        image(1, "train", "A dog, a cat.", "The dog!"),
        image(2, "val", "An owl."),
        image(3, "test", "A dog\u2028barks"),
    ]
    facts = prepare(images, tmp_path, min_count=2)
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.words[4:] == ["a", "dog"]
    assert facts["images"] == {"train": 1, "val": 1, "test": 1} and facts["vocabulary"] == 6
    examples = load_examples(tmp_path)
    assert [e.image for e in examples] == images
    assert examples[0].tokens == ("a dog a cat", "the dog") and examples[2].tokens == (
        "a dog barks",
    )
    assert [e.image_id for e in load_examples(tmp_path, "val")] == [2]


def test_encode_truncates_and_pads():
    vocabulary = Vocabulary.of(["a b c"], 1)
    a, b, c = 4, 5, 6
    assert vocabulary.encode("a x b", 5) == [a, UNK, b, EOS, PAD, PAD]
    assert vocabulary.encode("a b c a", 2) == [a, b, EOS]
    assert vocabulary.decode([c, a]) == "c a"


def test_an_image_without_a_word_is_refused(tmp_path):
    with pytest.raises(UserError, match="image id 7"):
        prepare([image(7, "train", "...", "!")], tmp_path, 1)
