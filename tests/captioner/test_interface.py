import itertools
from dataclasses import replace

import pytest
import torch

from dsacap.captioner.interface import Batch, Captioner, ImageSpec, closed
from dsacap.captioner.registry import load_captioner
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK
from helpers import SPEC, random_batch

CAPTIONERS = {
    "autoregressive": {"width": 16, "heads": 2},
    "masked-diffusion": {"width": 16, "heads": 2},
    "parallel": {"width": 16, "heads": 2},
    "prefix-lm": {"width": 16, "heads": 2, "layers": 1, "prefix": 2},
    "dsacap": {"width": 16, "heads": 2, "vertices": 9, "t_max": 0},
    "dsacap slots": {"width": 16, "heads": 2, "readout": "slots", "t_max": 0},
    "dsacap ctc": {"width": 16, "heads": 2, "readout": "ctc", "vertices": 9, "t_max": 0},
}


def captioner_of(name: str, spec: ImageSpec = SPEC, **model) -> Captioner:
    """Return a captioner whose weights are so large that captions differ in probability."""
    torch.manual_seed(0)
    captioner = load_captioner(name.split()[0], {**CAPTIONERS[name], **model}, spec).eval()
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return captioner


@pytest.mark.parametrize("name", CAPTIONERS)
def test_drawn_captions_are_closed_and_never_empty(name):
    captions = captioner_of(name).policy(random_batch(3)).sample(50)
    assert captions.shape[:2] == (3, 50)
    for caption in captions.flatten(0, 1).tolist():
        end = caption.index(EOS)
        assert end > 0
        assert min(caption[:end]) > UNK
        assert set(caption[end + 1 :]) <= {PAD}


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captions_begin_with_the_words_asked_for(name):
    captioner, batch = captioner_of(name), random_batch(5)
    assert captioner.completes == (name in ("autoregressive", "dsacap"))
    if not captioner.completes:
        return
    prefix = batch.captions[:, 0, :2].clamp(min=UNK + 1)
    options = {"autoregressive": [{}, {"beam": 3}, {"temperature": 1.0}]}
    for how in options.get(
        name,
        [{"search": s} for s in ("lookahead", "viterbi")]
        + [{"search": s, "temperature": 1.0} for s in ("draw", "perturb")],
    ):
        decoding = captioner.Decoding(**how)
        captions = captioner.caption(replace(batch, prefix=prefix), 2, 0, decoding)
        assert all(
            caption[:2] == begin
            for begin, of_image in zip(prefix.tolist(), captions, strict=True)
            for caption in of_image
        )
        assert max(len(caption) for of_image in captions for caption in of_image) <= SPEC.max_words
    if name == "autoregressive":  # the words that it would write anyway change nothing
        plain = captioner.caption(batch, 1, 0, captioner.Decoding())
        own = torch.tensor([captions[0][:1] for captions in plain])
        assert captioner.caption(replace(batch, prefix=own), 1, 0, captioner.Decoding()) == plain


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captions_are_drawn_as_often_as_their_probability_says(name):
    """Count all six captions of one or two words, from a vocabulary of two, in 6,000 draws."""
    spec = ImageSpec(tokens=4, channels=6, vocabulary=6, max_words=2)
    captioner = captioner_of(
        name, spec, **{"dsacap": {"vertices": 4}, "dsacap ctc": {"vertices": 2}}.get(name, {})
    )
    if name == "prefix-lm":
        captioner.head = captioner.lm.lm_head = torch.nn.Linear(16, 6)  # GPT-2's has no bias
    head = captioner.readout.words if name.startswith("dsacap") else captioner.head
    with torch.no_grad():
        # These are never drawn, so they must have no share of the probability. Masked diffusion
        # ends a caption by its length, not by a word.
        head.bias[[PAD, BOS, UNK, *([EOS] if name == "masked-diffusion" else [])]] = -30
    texts = [text for length in (1, 2) for text in itertools.product((4, 5), repeat=length)]
    captions = torch.tensor([[*text, EOS, *[PAD] * (2 - len(text))] for text in texts])
    policy = captioner.policy(Batch((1,), torch.randn(1, 4, 6)))
    expected = policy.log_prob(captions[None])[0].exp()
    expected = expected / expected.sum()  # without that of the empty caption, which is never drawn
    drawn = policy.sample(6000)[0]
    share = (drawn[:, None] == captions).all(-1).float().mean(0)
    assert share.sum() == pytest.approx(1)
    assert (share - expected).abs().max() < 0.03  # four standard errors
    assert expected.max() - expected.min() > 0.1


@pytest.mark.parametrize("name", CAPTIONERS)
def test_the_gradient_reaches_every_weight_that_speaks(name):
    captioner = captioner_of(name)
    policy = captioner.policy(random_batch(2))
    policy.log_prob(policy.sample(4)).sum().backward()
    still = {n for n, p in captioner.named_parameters() if p.grad is None or not p.grad.abs().any()}
    assert {
        n for n in still if not n.startswith("denoiser.out") and not n.endswith("key_value.bias")
    } == set()


def test_a_captioner_without_probabilities_says_so():
    class Mute(Captioner):
        loss = caption = None

    with pytest.raises(UserError, match="Mute does not compute the probability"):
        Mute().policy(random_batch(1))


def test_closed_puts_the_end_where_a_caption_ended_or_after_its_last_word():
    words = torch.tensor([[[5, 6, 7], [5, 9, 9], [5, 6, 8]]])
    ended = torch.tensor([[[False, False, False], [False, True, True], [False, False, True]]])
    assert closed(words, ended).tolist() == [[[5, 6, 7, EOS], [5, EOS, PAD, PAD], [5, 6, EOS, PAD]]]
