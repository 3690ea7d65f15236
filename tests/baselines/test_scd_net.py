import dataclasses

import pytest
import torch

from dsacap.baselines.scd_net import SCDNet, _words
from dsacap.captioner.interface import Batch
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK
from helpers import SPEC, ListMemory, learn_by_heart, part_of, random_batch, words_of

MEMORY = ListMemory(random_batch(30, references=1, seed=9).captions[:, 0].tolist())


def make(**model) -> SCDNet:
    torch.manual_seed(2)
    captioner = SCDNet(
        SCDNet.Model(
            **{"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, **model}
        ),
        SPEC,
    ).eval()
    captioner.learn_from(MEMORY)
    return captioner


@pytest.mark.parametrize("options", [{"steps": 1}, {"steps": 4, "asymmetry": 2}])
def test_captions_do_not_depend_on_the_batch(options):
    captioner, batch, decoding = make(), random_batch(6), SCDNet.Decoding(**options)
    with torch.no_grad():
        captioner.stages[-1].head.weight.mul_(20)
    together = captioner.caption(batch, 2, 7, decoding)
    assert len({tuple(caption) for image in together for caption in image}) > 1
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert [captions[:1] for captions in together] == captioner.caption(batch, 1, 7, decoding)
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


def test_the_captions_of_similar_images_are_read():
    captioner, batch = make(), random_batch(4)
    with torch.no_grad():
        captioner.stages[-1].head.weight.mul_(20)
    before = captioner.caption(batch, 1, 0, SCDNet.Decoding(steps=2))
    captioner.learn_from(
        ListMemory(random_batch(30, references=1, seed=10).captions[:, 0].tolist())
    )
    assert captioner.caption(batch, 1, 0, SCDNet.Decoding(steps=2)) != before
    with pytest.raises(ValueError, match="call learn_from first"):
        SCDNet(SCDNet.Model(width=32), SPEC).caption(batch, 1, 0, SCDNet.Decoding())


def test_a_later_stage_reads_the_previous_one():
    captioner, batch = make(), random_batch(4)
    with torch.no_grad():
        captioner.stages[1].head.weight.mul_(20)
        one = captioner.caption(batch, 1, 0, SCDNet.Decoding(steps=2))
        captioner.stages[0].head.bias.copy_(torch.randn(SPEC.vocabulary) * 30)
        assert captioner.caption(batch, 1, 0, SCDNet.Decoding(steps=2)) != one


def read_in_training(captioner: SCDNet, batch: Batch) -> torch.Tensor:
    """Return the words [X, L] that the second stage reads when the captioner trains on a batch."""
    read = []
    hook = captioner.stages[1].register_forward_pre_hook(lambda _, args: read.append(args[2]))
    captioner.loss(batch)["loss"].backward()
    hook.remove()
    return captioner.bits.decode(read[-1])


@pytest.mark.parametrize("kept", [True, False])
def test_a_later_stage_is_trained_on_what_the_previous_one_writes(kept, monkeypatch):
    """Whatever the references are, and whatever word is exchanged in it."""
    captioner, batch = make(dropout=0.5).train(), random_batch(4)
    with torch.no_grad():
        captioner.stages[0].head.weight.zero_()
        captioner.stages[0].head.bias.fill_(-30)
        captioner.stages[0].head.bias[9] = 30
    if kept:
        monkeypatch.setattr("dsacap.baselines.scd_net._EXCHANGED", 0.0)
        assert (read_in_training(captioner, batch) == 9).all()
    else:
        others = torch.randint(UNK + 1, SPEC.vocabulary, batch.captions.shape)
        many = dataclasses.replace(batch, captions=others.repeat(1, 100, 1))
        share = (read_in_training(captioner, many) != 9).float().mean().item()
        assert share == pytest.approx(0.15 * 9 / 10, abs=0.02)  # one word of ten is the same
    assert captioner.training and captioner.stages[0].dropout.training


def test_the_caption_of_a_train_image_does_not_depend_on_its_references():
    words = []
    for seed in (1, 2):
        batch = dataclasses.replace(random_batch(4), captions=random_batch(4, seed=seed).captions)
        captioner = make()
        with torch.no_grad():
            captioner.stages[0].head.weight.mul_(20)
        torch.manual_seed(0)
        words.append(read_in_training(captioner, batch))
    assert torch.equal(*words) and words[0].unique().numel() > 4


def test_words_end_at_the_end_or_at_padding_and_there_is_one():
    logits = torch.full((3, 4, SPEC.vocabulary), -9.0)
    for row, words in enumerate([[5, EOS, 6, 7], [5, PAD, 6, EOS], [EOS, BOS, 7, 8]]):
        logits[row, range(4), words] = 9.0
    found = _words(logits + 0.01 * torch.arange(SPEC.vocabulary)).tolist()
    last = SPEC.vocabulary - 1  # the likeliest where nothing else is
    assert found == [[5, EOS, PAD, PAD], [5, PAD, PAD, PAD], [last, last, 7, 8]]


def test_a_single_stage_reads_nothing():
    captioner, batch = make(cascades=1), random_batch(2)
    captioner.loss(batch)["loss"].backward()
    assert len(captioner.caption(batch, 1, 0, SCDNet.Decoding(steps=2))) == 2


def test_it_learns_length_and_words():
    captioner, batch = make(cascades=2, label_smoothing=0.0), random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=300, learning_rate=3e-3)
    captions = captioner.caption(batch, 1, 0, SCDNet.Decoding(steps=5))
    assert [image[0] for image in captions] == words_of(batch)


@pytest.mark.parametrize("options", [{"steps": 0}, {"asymmetry": -1}])
def test_impossible_decodings_are_refused(options):
    with pytest.raises(ValueError):
        SCDNet.Decoding(**options)


def test_it_can_be_tuned_by_a_reward():
    captioner, batch = make(), random_batch(3)
    policy = captioner.policy(batch)
    captions = policy.sample(6)
    assert captions.shape[:2] == (3, 6) and (captions[..., 0] > UNK).all()
    policy.log_prob(captions).sum().backward()
    assert captioner.stages[1].head.weight.grad.abs().sum() > 0
