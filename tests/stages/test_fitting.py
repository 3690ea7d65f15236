"""Training on a part of the train split."""

import pytest

from dsacap.common.errors import UserError
from dsacap.config.sections import System
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.fitting import training_examples
from dsacap.stages.train import train_system
from exports import DSACAP
from helpers import borrow, tiny_config


@pytest.fixture
def few(tiny_layout, tmp_path):
    """Return a layout whose system is trained on a number of images."""

    def make(images: int | None) -> Layout:
        training = {"steps": 2, "evaluations": 1, "images": images}
        system = System(training=training, **DSACAP, decodings={"clean": {"noise_level": 0}})
        config = tiny_config(tmp_path).model_copy(update={"systems": {"ours": system}})
        return borrow(Layout(config), tiny_layout)

    return make


def test_a_row_is_trained_on_the_images_that_its_seed_draws(few):
    inputs = Inputs(few(8))
    drawn = [[e.image_id for e in training_examples(inputs, "ours", seed)] for seed in (0, 1)]
    assert drawn[0] != drawn[1] and [len(ids) for ids in drawn] == [8, 8]
    facts = train_system(few(8), "ours", 0)
    assert facts["drawn_images"]["count"] == 8
    assert facts["drawn_images"] != train_system(few(8), "ours", 1)["drawn_images"]
    # What is looked up in the split, such as bigrams, is looked up in the whole of it.
    assert len(inputs.memory.examples) == 24


def test_all_images_are_the_default_and_have_no_part_in_the_key(few):
    assert len(training_examples(Inputs(few(None)), "ours", 0)) == 24
    without = few(None).config.systems["ours"]
    without = System(**without.model_dump() | {"training": {"steps": 2, "evaluations": 1}})
    config = few(None).config.model_copy(update={"systems": {"ours": without}})
    assert Layout(config).system("ours", 0) == few(None).system("ours", 0)
    assert few(8).system("ours", 0) != few(9).system("ours", 0) != few(None).system("ours", 0)


def test_more_images_than_there_are_is_an_error(few):
    with pytest.raises(UserError, match=r"training\.images: 25 are more than the 24 images"):
        train_system(few(25), "ours", 0)
