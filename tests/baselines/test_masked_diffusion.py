import pytest
import torch

from baselines.masked_diffusion import MaskedDiffusion
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
        captioner.length_head.weight.mul_(20)  # different lengths in one batch
    batch, decoding = random_batch(6), MaskedDiffusion.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert len({len(said[0]) for said in together}) > 1
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for said in together for caption in said for word in caption
    )


def test_steps_fix_the_most_confident_words_and_keep_them(captioner, monkeypatch):
    """After step i of K at least i/K of the words stand, and none changes later."""
    seen, forward = [], captioner._hidden
    monkeypatch.setattr(
        captioner,
        "_hidden",
        lambda words, *rest: seen.append(words.clone()) or forward(words, *rest),
    )
    said = captioner.caption(random_batch(1), 1, 0, MaskedDiffusion.Decoding(steps=3))[0][0]
    for i, words in enumerate(seen):
        fixed = words[0] != captioner.mask
        assert fixed.sum() >= i / 3 * len(said)
        assert (words[0][fixed] == torch.tensor(said)[fixed]).all()


def ddcap(**model) -> MaskedDiffusion:
    torch.manual_seed(2)
    return MaskedDiffusion(
        MaskedDiffusion.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1, **model), SPEC
    ).eval()


def test_a_masked_place_is_seen_by_itself_alone():
    captioner, batch = ddcap(concentrated=True), random_batch(1)
    images = captioner._image_keys_values(captioner.image_encoder(batch.features))
    words, real = (
        torch.tensor([[5, captioner.mask, 6, captioner.mask]]),
        torch.ones(1, 4, dtype=torch.bool),
    )
    with torch.no_grad():
        before = captioner._hidden(words, real, images)
        captioner.position[1] += 10.0  # place 1 is masked: only place 1 may notice
        changed = (captioner._hidden(words, real, images) - before).abs().amax(-1)[0] > 1e-6
        assert changed.tolist() == [False, True, False, False]
        captioner.position[0] += 10.0  # place 0 is a word: all notice
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
    length = [len(said[0]) for said in none]
    same_length = [said[0] for said, n in zip(none, length, strict=True) if n == length[0]]
    assert all(
        said == same_length[0] for said in same_length
    )  # without the image, all say the same
    together = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=2.0))
    assert together[2:3] == captioner.caption(
        part_of(batch, slice(2, 3)), 1, 0, MaskedDiffusion.Decoding(guidance=2.0)
    )
    with pytest.raises(ValueError, match="image_free"):
        ddcap().caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=2.0))


def test_it_learns_length_and_words(captioner):
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=150, learning_rate=1e-2)
    said = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(steps=4))
    assert [c[0] for c in said] == words_of(batch)
