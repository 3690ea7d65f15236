import dataclasses

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from dsacap.baselines.prefix_lm import PrefixLM
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import EOS, SPECIALS, UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of

SMALL = {"width": 16, "heads": 2, "layers": 1, "prefix": 3, "mapper_layers": 1}


def make(**model) -> PrefixLM:
    torch.manual_seed(2)
    captioner = PrefixLM(PrefixLM.Model(**{**SMALL, **model}), SPEC).eval()
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return captioner


@pytest.mark.parametrize("mapper", ["mlp", "transformer"])
@pytest.mark.parametrize("options", [{}, {"beam": 3}, {"temperature": 1.0}])
def test_captions_do_not_depend_on_the_batch(mapper, options):
    captioner, batch, decoding = make(mapper=mapper), random_batch(6), PrefixLM.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )
    assert all(len(captions) == 2 for captions in together)


def test_sampling_follows_the_probabilities():
    captioner, image = make(), part_of(random_batch(1, references=1), slice(0, 1))
    drawn = captioner.caption(image, 3000, 0, PrefixLM.Decoding(temperature=1.0))[0]
    first = (
        torch.bincount(
            torch.tensor([caption[0] for caption in drawn]),
            minlength=SPEC.vocabulary,
        )
        / 3000
    )
    with torch.no_grad():
        logits = captioner.lm(inputs_embeds=captioner.mapper(image.features)).logits[0, -1]
    logits[[*captioner.words.forbidden, EOS]] = -torch.inf  # captions are never empty
    torch.testing.assert_close(first, logits.softmax(-1), atol=0.04, rtol=0)


@pytest.mark.parametrize("mapper", ["mlp", "transformer"])
def test_it_learns_length_and_words(mapper):
    torch.manual_seed(2)
    captioner = PrefixLM(PrefixLM.Model(**{**SMALL, "width": 32}, mapper=mapper), SPEC).eval()
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=200, learning_rate=5e-3)
    captions = captioner.caption(batch, 1, 0, PrefixLM.Decoding())
    assert [image[0] for image in captions] == words_of(batch)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> str:
    """A tiny GPT-2 in the real format, whose tokens are letters and spaces."""
    folder = tmp_path_factory.mktemp("gpt2")
    letters = ["<|endoftext|>", *"abcdefghij "]
    tokenizer = Tokenizer(
        models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token=letters[0])
    )
    tokenizer.decoder = decoders.Fuse()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=letters[0], clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=12, n_embd=32, n_layer=1, n_head=2, n_positions=64, eos_token_id=0)
    ).save_pretrained(folder)
    return str(folder)


def test_a_pretrained_language_model_uses_its_own_tokens(gpt2):
    spec = dataclasses.replace(
        SPEC, words=(*SPECIALS, "ab", "cd", "ef", "g", "hij", "a", "b", "c", "de", "fg")
    )
    torch.manual_seed(1)
    captioner = PrefixLM(PrefixLM.Model(language_model=gpt2, prefix=4), spec).eval()
    batch = random_batch(2, references=1)
    tokens = captioner.words.tokens(batch.captions[:, 0])
    assert captioner.words.word_ids(tokens.clamp_min(0)) == words_of(batch)
    learn_by_heart(captioner, batch, steps=250, learning_rate=3e-3)
    captions = captioner.caption(batch, 1, 0, PrefixLM.Decoding())
    assert [image[0] for image in captions] == words_of(batch)
    with pytest.raises(UserError, match="does not compute the probability"):
        captioner.policy(batch)


def test_a_frozen_language_model_stays_as_it_is(gpt2):
    spec = dataclasses.replace(SPEC, words=(*SPECIALS, *"abcdefghij"))
    captioner = PrefixLM(
        PrefixLM.Model(language_model=gpt2, frozen=True, mapper="transformer", mapper_layers=1),
        spec,
    )
    captioner.loss(random_batch(2))["loss"].backward()
    assert all(p.grad is None for p in captioner.lm.parameters())
    assert all(p.grad is not None for p in captioner.mapper.parameters())


@pytest.mark.parametrize(
    "options", [{"mapper": "linear"}, {"frozen": True}, {"prefix": 0}, {"language_model": "gpt2"}]
)
def test_impossible_models_are_refused(options):
    with pytest.raises(ValueError):
        PrefixLM.Model(**options)


def test_a_missing_language_model_is_reported(tmp_path):
    with pytest.raises(UserError, match="language_model"):
        PrefixLM(
            PrefixLM.Model(language_model=str(tmp_path)),
            dataclasses.replace(SPEC, words=("a",) * 14),
        )
