import pytest
import torch

from dsacap.baselines.analog_bits import gamma, noised, stepped
from dsacap.baselines.bit_diffusion import BitDiffusion
from dsacap.text.vocabulary import UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of


@pytest.fixture
def captioner():
    torch.manual_seed(2)
    return BitDiffusion(
        BitDiffusion.Model(width=32, heads=2, encoder_layers=1, decoder_layers=1), SPEC
    ).eval()


def test_bits_are_those_of_word_ids_and_codes_without_a_word_are_unknown(captioner):
    words = torch.arange(SPEC.vocabulary)[None]
    bits = captioner.bits.encode(words)
    assert captioner.bits.count == 4 and bits.unique().tolist() == [-1, 1]  # 14 words
    assert bits[0, 5].tolist() == [1, -1, 1, -1]
    assert torch.equal(captioner.bits.decode(bits * 0.1), words)
    assert captioner.bits.decode(torch.ones(1, 1, 4)).item() == UNK  # 15 is not the id of a word


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"steps": 5, "asymmetry": 2}, {"steps": 5, "sampler": "ddpm"}]
)
def test_captions_do_not_depend_on_the_batch(captioner, options):
    batch, decoding = random_batch(6), BitDiffusion.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert [captions[:1] for captions in together] == captioner.caption(batch, 1, 7, decoding)
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


def test_a_step_with_the_true_x0_and_its_noise_lands_on_the_path():
    x0, noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind(0)
    x0, noise = x0[None], noise[None]
    at, to = torch.tensor([0.8]), torch.tensor([0.3])
    torch.testing.assert_close(
        stepped(noised(x0, noise, at), x0, 0.8, 0.3, None), noised(x0, noise, to)
    )
    assert gamma(torch.tensor(0.0)) > 0.999 and gamma(torch.tensor(1.0)) < 1e-6


def test_ddpm_keeps_the_variance():
    """A step of DDPM with the true x_0 gives the mean and variance of the time that it goes to."""
    torch.manual_seed(0)
    x0 = torch.full((1, 1, 200_000), 0.7)
    x = stepped(
        noised(x0, torch.randn_like(x0), torch.tensor([0.6])), x0, 0.6, 0.5, torch.randn_like(x0)
    )
    g = gamma(torch.tensor(0.5))
    assert x.mean().item() == pytest.approx((g.sqrt() * 0.7).item(), abs=0.01)
    # DDPM's variance is an upper bound of it.
    assert x.var().item() == pytest.approx(1 - g.item(), rel=0.35)


def test_it_learns_length_and_words(captioner):
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=600, learning_rate=3e-3)
    captions = captioner.caption(batch, 1, 0, BitDiffusion.Decoding(steps=10, asymmetry=2))
    assert [image[0] for image in captions] == words_of(batch)


@pytest.mark.parametrize("options", [{"steps": 0}, {"asymmetry": -1}, {"sampler": "euler"}])
def test_impossible_decodings_are_refused(options):
    with pytest.raises(ValueError):
        BitDiffusion.Decoding(**options)
