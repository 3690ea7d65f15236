import pytest
import torch

from dsacap.baselines.masked_diffusion import MaskedDiffusion
from dsacap.text.vocabulary import UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of


@pytest.fixture
def captioner():
    torch.manual_seed(2)
    return MaskedDiffusion(
        MaskedDiffusion.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1), SPEC
    ).eval()


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"steps": 3}, {"steps": 20}, {"steps": 3, "temperature": 1.0}]
)
def test_captions_do_not_depend_on_the_batch(captioner, options):
    with torch.no_grad():
        captioner.length_head.weight.mul_(20)  # for different lengths in one batch
    batch, decoding = random_batch(6), MaskedDiffusion.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert len({len(captions[0]) for captions in together}) > 1
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


def test_steps_fix_the_most_confident_words_and_keep_them(captioner, monkeypatch):
    """After step i of K at least i/K of the words are fixed, and these do not change again."""
    inputs, forward = [], captioner._hidden
    monkeypatch.setattr(
        captioner,
        "_hidden",
        lambda words, *rest: inputs.append(words.clone()) or forward(words, *rest),
    )
    caption = captioner.caption(random_batch(1), 1, 0, MaskedDiffusion.Decoding(steps=3))[0][0]
    for i, words in enumerate(inputs):
        fixed = words[0] != captioner.mask
        assert fixed.sum() >= i / 3 * len(caption)
        assert (words[0][fixed] == torch.tensor(caption)[fixed]).all()


def ddcap(**model) -> MaskedDiffusion:
    torch.manual_seed(2)
    return MaskedDiffusion(
        MaskedDiffusion.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1, **model), SPEC
    ).eval()


def test_a_masked_position_is_attended_to_by_itself_alone():
    captioner, batch = ddcap(concentrated=True), random_batch(1)
    images = captioner._image_keys_values(captioner.image_encoder(batch.features))
    words, real = (
        torch.tensor([[5, captioner.mask, 6, captioner.mask]]),
        torch.ones(1, 4, dtype=torch.bool),
    )
    with torch.no_grad():
        before = captioner._hidden(words, real, images)
        captioner.position[1] += 10.0  # masked: only position 1 itself may change
        changed = (captioner._hidden(words, real, images) - before).abs().amax(-1)[0] > 1e-6
        assert changed.tolist() == [False, True, False, False]
        captioner.position[0] += 10.0  # a word: all positions change
        assert ((captioner._hidden(words, real, images) - before).abs().amax(-1)[0] > 1e-6).all()


def test_guidance_moves_away_from_the_blank_and_at_1_changes_nothing():
    captioner, batch = ddcap(image_free=0.5), random_batch(6)
    with torch.no_grad():
        captioner.head.weight.mul_(20)
    plain, strong, none = (
        captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=g))
        for g in (1.0, 8.0, 0.0)
    )
    assert plain != strong
    # Without the image, all captions of one length are the same.
    same_length = [image[0] for image in none if len(image[0]) == len(none[0][0])]
    assert all(caption == same_length[0] for caption in same_length)
    together = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=2.0))
    assert together[2:3] == captioner.caption(
        part_of(batch, slice(2, 3)), 1, 0, MaskedDiffusion.Decoding(guidance=2.0)
    )
    with pytest.raises(ValueError, match="image_free"):
        ddcap().caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=2.0))


def test_it_learns_length_and_words(captioner):
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=150, learning_rate=1e-2)
    captions = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(steps=4))
    assert [image[0] for image in captions] == words_of(batch)
