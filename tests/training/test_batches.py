import re

import pytest

from dsacap.common.errors import UserError
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.training.batches import drawn_examples

SPLIT = [Example(CaptionedImage(i, f"{i}.png", "x", "train", ("a",)), ("a",)) for i in range(50)]


def ids(count: int, seed: int) -> list[int]:
    return [example.image_id for example in drawn_examples(SPLIT, count, seed)]


def test_a_row_draws_images_by_its_seed():
    assert ids(10, 0) == ids(10, 0) == sorted(set(ids(10, 0)))
    assert len(ids(10, 0)) == 10 and ids(10, 0) != ids(10, 1)
    assert set(ids(10, 0)) < set(ids(30, 0))
    assert ids(50, 0) == list(range(50))


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(UserError, match=re.escape("training.images: 51 are more than the 50 im")):
        drawn_examples(SPLIT, 51, 0)
