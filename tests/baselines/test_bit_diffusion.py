import dataclasses

import pytest
import torch

from dsacap.baselines.analog_bits import AnalogBits, deviation, gamma, noised, stepped
from dsacap.baselines.bit_diffusion import BitDiffusion
from dsacap.text.vocabulary import UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of


def make(**model) -> BitDiffusion:
    torch.manual_seed(2)
    small = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    return BitDiffusion(BitDiffusion.Model(**small, **model), SPEC).eval()


@pytest.fixture
def captioner():
    return make()


def test_bits_are_those_of_word_ids_and_codes_without_a_word_are_unknown(captioner):
    words = torch.arange(SPEC.vocabulary)[None]
    bits = captioner.bits.encode(words)
    assert captioner.bits.count == 4 and bits.unique().tolist() == [-1, 1]  # 14 words
    assert bits[0, 5].tolist() == [1, -1, 1, -1]
    assert torch.equal(captioner.bits.decode(bits * 0.1), words)
    assert captioner.bits.decode(torch.ones(1, 1, 4)).item() == UNK  # 15 is not the id of a word


def test_the_average_of_frequent_words_is_read_as_the_end_unless_codes_are_shuffled():
    words = torch.arange(1200)
    for shuffled, silent in ((False, True), (True, False)):
        bits = AnalogBits(1200, shuffled)
        assert torch.equal(bits.decode(bits.encode(words)), words)
        assert bits.encode(words).unique(dim=0).shape == (1200, 11)
        average = bits.encode(words[UNK + 1 : UNK + 33]).mean(0)
        assert (bits.decode(average).item() <= UNK) == silent
        assert ("code_of" in bits.state_dict()) == shuffled


def test_a_small_scale_buries_the_bits_in_noise():
    """The same noise level as a later time, in units of deviation 1."""
    t, x0 = torch.tensor([0.2, 0.5]), torch.ones(2, 1, 100_000)
    for scale in (1.0, 0.3):
        x = noised(scale * x0, torch.randn(x0.shape, generator=torch.manual_seed(0)), t)
        x = x / deviation(t, scale)[:, None, None]
        assert x.square().mean(-1).flatten().tolist() == pytest.approx([1, 1], abs=0.02)
        g = gamma(t)
        signal = (g * scale**2 / (g * scale**2 + 1 - g)).sqrt()
        assert x.mean(-1).flatten().tolist() == pytest.approx(signal.tolist(), abs=0.02)


def test_all_places_of_decoding_are_trained(captioner, monkeypatch):
    widths, forward = [], captioner._denoised
    monkeypatch.setattr(
        captioner, "_denoised", lambda x, *rest: widths.append(x.shape[1]) or forward(x, *rest)
    )
    batch = random_batch(3)
    captioner.loss(dataclasses.replace(batch, captions=batch.captions[..., :4]))
    assert set(widths) == {SPEC.max_words + 1}


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


@pytest.mark.parametrize("model", [{}, {"codes": "shuffled", "scale": 0.3}])
def test_it_learns_length_and_words(model):
    captioner, batch = make(**model), random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=600, learning_rate=3e-3)
    captions = captioner.caption(batch, 1, 0, BitDiffusion.Decoding(steps=10, asymmetry=2))
    assert [image[0] for image in captions] == words_of(batch)


@pytest.mark.parametrize("options", [{"steps": 0}, {"asymmetry": -1}, {"sampler": "euler"}])
def test_impossible_decodings_are_refused(options):
    with pytest.raises(ValueError):
        BitDiffusion.Decoding(**options)


@pytest.mark.parametrize("options", [{"codes": "gray"}, {"scale": 0}, {"scale": 2}])
def test_impossible_models_are_refused(options):
    with pytest.raises(ValueError):
        BitDiffusion.Model(**options)
