import pytest
import torch

from dsacap.baselines.one_pass import Parallel
from dsacap.text.vocabulary import EOS, UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of


@pytest.fixture
def captioner():
    torch.manual_seed(2)
    return Parallel(
        Parallel.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1), SPEC
    ).eval()


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}])
def test_captions_do_not_depend_on_the_batch(captioner, options):
    batch, decoding = random_batch(6), Parallel.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )
    assert all(first == second for first, second in together) != decoding.random


def test_a_repeated_word_is_dropped(captioner):
    with torch.no_grad():
        captioner.head.bias[[5, EOS]] = torch.tensor([50.0, 0.0])
    assert captioner.caption(random_batch(3), 1, 0, Parallel.Decoding()) == [[[5]]] * 3


def test_a_position_copies_the_image_tokens_at_the_same_relative_place(captioner):
    with torch.no_grad():
        captioner.log_width.fill_(-9.0)
    copy_LN = (-captioner.distance_LN / captioner.log_width.exp()).softmax(-1)
    assert copy_LN.argmax(-1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]  # eight positions, four tokens


def test_it_learns_length_and_words(captioner):
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=150, learning_rate=1e-2)
    captions = captioner.caption(batch, 1, 0, Parallel.Decoding())
    assert [image[0] for image in captions] == words_of(batch)


def test_a_negative_beta_is_refused():
    with pytest.raises(ValueError, match="beta >= 0"):
        Parallel.Model(beta=-1.0)
