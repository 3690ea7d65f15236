import dataclasses

import pytest
import torch

from dsacap.baselines.ladic import LaDiC
from dsacap.captioner.batch_parts import WHOLE
from dsacap.text.vocabulary import EOS, PAD, UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch

SMALL = {
    "width": 32,
    "latent": 16,
    "heads": 2,
    "encoder_layers": 1,
    "text_layers": 1,
    "decoder_layers": 1,
    "text_steps": 100,
}


@pytest.fixture
def captioner():
    torch.manual_seed(2)
    captioner = LaDiC(LaDiC.Model(**SMALL), SPEC).eval()
    with torch.no_grad():
        captioner.text.head.weight.mul_(8)  # for different words and lengths in one batch
    return captioner


@pytest.mark.parametrize(
    "options", [{"stride": 300}, {"stride": 300, "guidance": 0}, {"stride": 300, "refine": True}]
)
def test_captions_do_not_depend_on_the_batch(captioner, options):
    batch, decoding = random_batch(6), LaDiC.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert len({tuple(caption) for image in together for caption in image}) > 1
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert [captions[:1] for captions in together] == captioner.caption(batch, 1, 7, decoding)
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


def test_refining_keeps_the_positions_that_the_decoder_is_sure_of(captioner):
    batch, decoding = random_batch(2), LaDiC.Decoding(stride=300, refine=True)
    times = [999, 699, 399, 99]
    images, blank = (
        captioner._keys_values(m, 1)
        for m in (captioner.image_encoder(batch.features), captioner.blank.expand(2, -1, -1))
    )
    x0, noises = torch.randn(2, 8, 16), torch.randn(2, 5, 8, 16)
    with torch.no_grad():
        refined = captioner._refined(x0, noises, times, images, blank, decoding)
        sure = captioner._logits(x0).softmax(-1).amax(-1)
    same = (refined == x0).all(-1)
    assert same.sum(-1).tolist() == [5, 5]  # of eight positions, three are denoised again
    for b in range(2):
        assert sure[b][same[b]].min() >= sure[b][~same[b]].max()


def test_refining_does_not_treat_padding_as_uncertain(captioner, monkeypatch):
    """Two words that the decoder is less sure of than of the padding after them are refined."""
    logits = torch.zeros(1, 8, SPEC.vocabulary)
    logits[:, :2, 5], logits[:, 2:, PAD] = 3.0, 30.0
    monkeypatch.setattr(captioner, "_logits", lambda x0: logits.clone())
    kept = []
    monkeypatch.setattr(captioner, "_from_noise", lambda *args: kept.append(args[-1][0]))
    captioner._refined(torch.zeros(1, 8, 16), None, None, None, None, LaDiC.Decoding(refine=True))
    assert kept[0][0, :, 0].tolist()[:2] == [False, False] and kept[0].sum() == 5


def test_latents_are_standardised_by_running_statistics(captioner):
    captioner.train()
    words = random_batch(50).captions.flatten(0, 1)
    with torch.no_grad():
        captioner.text.embed.weight.add_(3.0)
    for _ in range(1200):
        latents = captioner._latents(words, WHOLE)
    assert latents.flatten(0, 1).mean(0).abs().max() < 0.02
    torch.testing.assert_close(latents.flatten(0, 1).std(0), torch.ones(16), atol=0.05, rtol=0)


def test_the_text_encoder_is_trained_first_and_then_frozen(captioner):
    batch, trained = random_batch(2), []
    captioner.train()
    for _ in range(102):
        captioner.zero_grad()
        captioner.loss(batch)["loss"].backward()
        trained.append(
            tuple(
                p.grad is not None
                for p in (
                    captioner.text.embed.weight,
                    captioner.text.head.weight,
                    captioner.write.weight,
                )
            )
        )
    # The head goes on: it learns to read what the diffusion writes.
    assert trained == [(True, True, False)] * 100 + [(False, True, True)] * 2
    assert "trained_steps" in captioner.state_dict()  # so a resumed training knows where it was


def test_a_frozen_text_encoder_has_no_dropout():
    """The same caption always has the same latents, after validation too."""
    torch.manual_seed(2)
    captioner = LaDiC(LaDiC.Model(**{**SMALL, "text_steps": 1}, text_dropout=0.5), SPEC).train()
    batch = random_batch(4)
    words = captioner.text.tokens(batch.captions.flatten(0, 1))
    captioner.loss(batch)
    assert not torch.equal(captioner.text.encode(words), captioner.text.encode(words))
    captioner.loss(batch)
    for _ in range(2):
        latents = captioner.text.encode(words)
        assert torch.equal(latents, captioner.text.encode(words))
        assert torch.equal(captioner.text.decode(latents), captioner.text.decode(latents))
        captioner.eval()  # for validation, as the training loop does
        captioner.train()


def test_all_positions_of_decoding_are_trained(captioner, monkeypatch):
    widths, forward = [], captioner._denoised
    monkeypatch.setattr(
        captioner, "_denoised", lambda x, *rest: widths.append(x.shape[1]) or forward(x, *rest)
    )
    batch = random_batch(3)
    captioner.trained_steps.fill_(SMALL["text_steps"] + 1)
    captioner.loss(dataclasses.replace(batch, captions=batch.captions[..., :4]))
    assert set(widths) == {SPEC.max_words + 1}


def test_no_caption_is_empty(captioner):
    with torch.no_grad():
        captioner.text.head.bias[EOS] += 60
    captions = captioner.caption(random_batch(3), 2, 0, LaDiC.Decoding(stride=300))
    assert {len(caption) for image in captions for caption in image} == {1}


def test_it_learns_length_and_words():
    torch.manual_seed(2)
    captioner = LaDiC(LaDiC.Model(**{**SMALL, "width": 64, "latent": 32}, dilate=1.0), SPEC)
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=900, learning_rate=3e-3)
    captions = captioner.eval().caption(batch, 9, 0, LaDiC.Decoding(stride=100))
    expected = []
    for words in (image[0] for image in batch.captions.tolist()):
        words = words[: words.index(EOS)]
        expected.append([w for i, w in enumerate(words) if i == 0 or w != words[i - 1]])
    # One caption in several may differ: 900 steps magnify the rounding of the processor.
    assert [max(drawn, key=drawn.count) for drawn in captions] == expected


@pytest.mark.parametrize("options", [{"stride": 0}, {"guidance": -1}])
def test_impossible_decodings_are_refused(options):
    with pytest.raises(ValueError):
        LaDiC.Decoding(**options)
