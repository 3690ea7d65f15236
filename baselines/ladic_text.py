"""LaDiC's text side: a text encoder split in two, words to latents and latents to words.

arXiv 2404.10763, section 3.1. `NamedText` is a pretrained BERT, as in the authors' work: both
halves are frozen, and the head is trained. `SmallText` is trained on the captions, for use without
pretrained weights, then frozen but for its head. Both represent captions [X, T] as tokens of their
own, and fill all positions, in training as in decoding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertForMaskedLM

from dsacap.baselines.pieces import Pieces, from_pretrained, untie
from dsacap.baselines.shared import at_full_length
from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import ImageSpec, until_eos
from dsacap.captioner.layers import EncoderBlock
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

_MASKED = 0.15  # share of the words that masked language modelling hides
_MORE_PIECES = 4  # positions beyond the largest number of words; the authors use 24 for 20


class SmallText(nn.Module):
    """A small BERT (Devlin et al. 2019) of 2 x `layers`, whose tokens are the benchmark's words.

    It is trained by its own `loss` before the diffusion is. Then `freeze` fixes both halves, which
    have no dropout from then on: the latents are targets, and dropout would add to them what nobody
    can predict. The head goes on learning, as the authors' does.

    Attributes:
        length: Number of positions.
        end: The token that ends a caption.
        forbidden: Tokens that are never written.
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float, spec: ImageSpec):
        super().__init__()
        self.mask = spec.vocabulary  # an id beyond the vocabulary
        self.width, self.spec, self.length = width, spec, spec.max_words + 1
        self.end, self.forbidden = EOS, [PAD, BOS, UNK]
        self.frozen = False
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
        """Return captions with PAD at all positions after the end, of which there are `length`."""
        return at_full_length(captions_XL, self.spec)

    def freeze(self, frozen: bool) -> None:
        """Fix both halves, or let them learn."""
        self.frozen = frozen
        for half in (self.embed, self.lower, self.upper):
            half.requires_grad_(not frozen)
        self.position.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SmallText":
        """Set the mode; frozen halves always stay without dropout."""
        super().train(mode)
        for half in (self.lower, self.upper):
            half.train(mode and not self.frozen)
        return self

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        """Return the words before the end of each caption."""
        return [until_eos(words) for words in tokens_XT.tolist()]

    def encode(self, tokens_XT: Tensor) -> Tensor:
        """Return the latents [X, T, E] of captions."""
        x = self.embed(tokens_XT) + self.position[: tokens_XT.shape[1]]
        for block in self.lower:
            x = block(x)
        return x

    def decode(self, latents_XTE: Tensor) -> Tensor:
        """Return the logits [X, T, V] of the tokens."""
        for block in self.upper:
            latents_XTE = block(latents_XTE)
        return self.head(self.norm(latents_XTE))

    def loss(self, tokens_XT: Tensor, part: Part = WHOLE) -> Tensor:
        """Return the cross-entropy of all words, with some masked in the input.

        So the latents must contain each word and what its neighbours imply about it.
        """
        masked_XT = part.drawn(torch.rand, tokens_XT.shape, tokens_XT.device) < _MASKED
        logits = self.decode(self.encode(tokens_XT.masked_fill(masked_XT, self.mask)))
        return F.cross_entropy(logits.flatten(0, 1), tokens_XT.flatten())


class NamedText(nn.Module):
    """A pretrained BERT of transformers, whose tokens are word pieces.

    Full stops mark the end of a caption and fill the positions after it. The head is trained on the
    latents that the diffusion predicts.

    Attributes:
        length: Number of positions.
        end: The token that ends a caption.
        forbidden: Tokens that are never written.
    """

    def __init__(self, name: str, revision: str | None, spec: ImageSpec):
        super().__init__()
        self.bert = from_pretrained(BertForMaskedLM, name, revision)
        untie(self.bert)
        self.bert.bert.requires_grad_(False)
        self.length = spec.max_words + _MORE_PIECES
        self.width = self.bert.config.hidden_size
        self.lower_layers = self.bert.config.num_hidden_layers // 2
        self.pieces = Pieces(name, revision, spec, self.length)
        self.end = self.pieces.tokenizer.convert_tokens_to_ids(".")
        specials = self.pieces.tokenizer.all_special_ids
        self.forbidden = [i for i in specials if i != self.end]

    def tokens(self, captions_XL: Tensor) -> Tensor:
        """Return captions as word pieces, each filled with full stops up to `length`."""
        captions = self.pieces.encode(captions_XL, self.end)
        return torch.tensor(
            [pieces + [self.end] * (self.length - len(pieces)) for pieces in captions],
            device=captions_XL.device,
        )

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        """Return the words before the first full stop of each caption."""
        end = self.end
        return self.pieces.decode(
            [
                pieces[: pieces.index(end)] if end in pieces else pieces
                for pieces in tokens_XT.tolist()
            ]
        )

    def encode(self, tokens_XT: Tensor) -> Tensor:
        """Return the latents [X, T, E] of captions, by the lower half."""
        x = self.bert.bert.embeddings(tokens_XT)
        for layer in self.bert.bert.encoder.layer[: self.lower_layers]:
            x = layer(x)
        return x

    def decode(self, latents_XTE: Tensor) -> Tensor:
        """Return the logits [X, T, V] of the tokens, by the upper half and the head."""
        for layer in self.bert.bert.encoder.layer[self.lower_layers :]:
            latents_XTE = layer(latents_XTE)
        return self.bert.cls(latents_XTE)

    def train(self, mode: bool = True) -> "NamedText":
        """Set the mode of the head; the frozen halves always stay without dropout."""
        super().train(mode)
        self.bert.bert.eval()
        return self


def moments(flat_XE: Tensor, part: Part) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation over the whole batch, from this part's latents."""
    if part.share == 1:
        return flat_XE.mean(0), flat_XE.std(0)
    mean, rows = part.mean(flat_XE.mean(0)), len(flat_XE) / part.share
    return mean, (part.mean((flat_XE - mean).square().mean(0)) * rows / (rows - 1)).sqrt()
