import dataclasses

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from dsacap.baselines.ladic import LaDiC
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import SPECIALS, UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of

WORDS = ("ab", "cd", "ef", "g", "hij", "a", "b", "c", "de", "fg")
NAMED = dataclasses.replace(SPEC, words=(*SPECIALS, *WORDS))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    """A tiny BERT in the real format, whose word pieces are letters."""
    folder = tmp_path_factory.mktemp("bert")
    pieces = [*SPECIAL, ".", *"abcdefghij", *(f"##{letter}" for letter in "abcdefghij")]
    tokenizer = Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    names = dict(
        zip(
            ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True
        )
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    BertForMaskedLM(
        BertConfig(vocab_size=len(pieces), max_position_embeddings=32, **sizes)
    ).save_pretrained(folder)
    return str(folder)


def make(bert: str) -> LaDiC:
    torch.manual_seed(1)
    size = {"width": 64, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "dilate": 1.0}
    return LaDiC(LaDiC.Model(language_model=bert, **size), NAMED)


def test_captions_survive_the_conversion_to_word_pieces(bert):
    text, batch = make(bert).text, random_batch(12, references=1)
    tokens = text.tokens(batch.captions[:, 0])
    assert tokens.shape[1] == SPEC.max_words + 4
    captions = words_of(batch)
    # Captions that do not fit are cut.
    fits = [sum(len(NAMED.words[word]) for word in words) < tokens.shape[1] for words in captions]
    assert True in fits and False in fits
    for words, back, fit in zip(captions, text.word_ids(tokens), fits, strict=True):
        assert back == words if fit else len(back) < len(words)


def test_the_two_halves_of_a_frozen_bert_make_the_whole(bert):
    text = make(bert).text.eval()
    tokens = text.tokens(random_batch(3).captions.flatten(0, 1))
    with torch.no_grad():
        torch.testing.assert_close(text.decode(text.encode(tokens)), text.bert(tokens).logits)
    assert text.train().bert.bert.training is False


def test_it_learns_length_and_words_and_leaves_bert_as_it_is(bert):
    captioner = make(bert)
    before = {name: p.clone() for name, p in captioner.text.bert.bert.named_parameters()}
    batch = random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=700, learning_rate=3e-3)
    captions = captioner.eval().caption(batch, 1, 0, LaDiC.Decoding(stride=100))
    expected = [
        [w for i, w in enumerate(words) if i == 0 or w != words[i - 1]] for words in words_of(batch)
    ]
    assert [image[0] for image in captions] == expected
    assert all(
        torch.equal(p, before[name]) for name, p in captioner.text.bert.bert.named_parameters()
    )


def test_captions_do_not_depend_on_the_batch(bert):
    captioner, batch, decoding = make(bert).eval(), random_batch(6), LaDiC.Decoding(stride=300)
    together = captioner.caption(batch, 2, 7, decoding)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


def test_a_bert_must_exist_and_be_pinned(tmp_path):
    with pytest.raises(ValueError, match="revision"):
        LaDiC.Model(language_model="bert-base-uncased")
    with pytest.raises(UserError, match="language_model"):
        make(str(tmp_path))
