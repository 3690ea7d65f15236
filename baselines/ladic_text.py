"""LaDiC's text side (arXiv 2404.10763, section 3.1): a text encoder split in two, words to latents and latents to words.

BERT by name, as the authors have it: both halves frozen, the head trained; or, where no weights can be had, a small one trained on the
captions. Both speak of captions [X, T] in tokens of their own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertForMaskedLM

from baselines.pieces import Pieces, from_pretrained, untie
from dsacap.captioner.batch_parts import drawn
from dsacap.captioner.interface import ImageSpec, until_eos
from dsacap.captioner.layers import EncoderBlock
from dsacap.text.vocabulary import BOS, PAD, UNK

_MASKED = 0.15  # of the words, in masked language modelling
_MORE_PIECES = 4  # than words; the authors have 24 for 20


class SmallText(nn.Module):
    """A small BERT (Devlin et al. 2019) of 2 x `layers`, whose tokens are the benchmark's words."""

    grows = True  # by its own `loss`, before the diffusion is trained

    def __init__(self, width: int, heads: int, layers: int, dropout: float, spec: ImageSpec):
        super().__init__()
        self.mask = spec.vocabulary  # one id more than the vocabulary has
        self.width, self.length, self.never = width, spec.max_words + 1, [PAD, BOS, UNK]
        self.embed = nn.Embedding(spec.vocabulary + 1, width)
        self.position = nn.Parameter(torch.randn(self.length, width) * 0.02)
        self.lower, self.upper = (
            nn.ModuleList(EncoderBlock(width, heads, dropout) for _ in range(layers))
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, spec.vocabulary)
        nn.init.normal_(self.embed.weight, std=0.02)

    def tokens(self, captions_XL: Tensor) -> Tensor:
        return captions_XL

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        return [until_eos(words) for words in tokens_XT.tolist()]

    def encode(self, tokens_XT: Tensor) -> Tensor:
        x = self.embed(tokens_XT) + self.position[: tokens_XT.shape[1]]
        for block in self.lower:
            x = block(x)
        return x

    def decode(self, latents_XTE: Tensor) -> Tensor:
        for block in self.upper:
            latents_XTE = block(latents_XTE)
        return self.head(self.norm(latents_XTE))

    def loss(self, tokens_XT: Tensor) -> Tensor:
        """Cross-entropy of all words, of which some are masked: the latents must hold a word and what its neighbours say of it."""
        masked_XT = drawn(torch.rand, tokens_XT.shape, tokens_XT.device) < _MASKED
        logits = self.decode(self.encode(tokens_XT.masked_fill(masked_XT, self.mask)))
        return F.cross_entropy(logits.flatten(0, 1), tokens_XT.flatten())


class NamedText(nn.Module):
    """A BERT of transformers, in word pieces. A full stop is the end of a caption and all that follows it. The head learns from what the
    diffusion makes."""

    grows = False

    def __init__(self, name: str, revision: str | None, spec: ImageSpec):
        super().__init__()
        self.bert = from_pretrained(BertForMaskedLM, name, revision)
        untie(self.bert)
        self.bert.bert.requires_grad_(False)
        self.length = spec.max_words + _MORE_PIECES
        self.width, self.half = (
            self.bert.config.hidden_size,
            self.bert.config.num_hidden_layers // 2,
        )
        self.pieces = Pieces(name, revision, spec, self.length)
        self.stop = self.pieces.tokenizer.convert_tokens_to_ids(".")
        self.never = [i for i in self.pieces.tokenizer.all_special_ids if i != self.stop]

    def tokens(self, captions_XL: Tensor) -> Tensor:
        said = self.pieces.of(captions_XL, self.stop)
        return torch.tensor(
            [each + [self.stop] * (self.length - len(each)) for each in said],
            device=captions_XL.device,
        )

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        said = tokens_XT.tolist()
        return self.pieces.word_ids(
            [each[: each.index(self.stop)] if self.stop in each else each for each in said]
        )

    def encode(self, tokens_XT: Tensor) -> Tensor:
        x = self.bert.bert.embeddings(tokens_XT)
        for layer in self.bert.bert.encoder.layer[: self.half]:
            x = layer(x)
        return x

    def decode(self, latents_XTE: Tensor) -> Tensor:
        for layer in self.bert.bert.encoder.layer[self.half :]:
            latents_XTE = layer(latents_XTE)
        return self.bert.cls(latents_XTE)

    def train(self, mode: bool = True) -> "NamedText":
        """What is frozen has no dropout either."""
        super().train(mode)
        self.bert.bert.eval()
        return self
