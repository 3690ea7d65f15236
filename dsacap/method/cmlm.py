"""Conditional masked language model, decoded by mask-predict.

It is that of Ghazvininejad et al. 2019 (arXiv 1904.09324). In training k ~ U{1 .. n} of a
reference's n words are masked and predicted from the others and the image; a head predicts n:

    loglik_r = log p(n) + n / k sum_{masked} log p(w_l | words not masked)

Its expectation is a lower bound of the likelihood over all orders of writing (Hoogeboom et al.
2022, arXiv 2110.02037, eq. 4). It weights references against each other, as the likelihood does in
other readouts.

Decoding predicts all n words from masks alone. After pass t of T, the n (T - t) / T words of lowest
probability are masked and predicted again. Here n is the likeliest length: there is one candidate.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner.batch_parts import WHOLE, Dropout, Part, places_of
from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.layers import take_rows
from dsacap.method.readout import Readout, Uniform
from dsacap.text.vocabulary import EOS, PAD, UNK


class CMLM(Readout):
    """Readout with one vertex per place in the caption, which refines the caption in passes."""

    options = ("passes",)

    def __init__(self, model, spec: ImageSpec):
        super().__init__(model, spec.max_words, spec.vocabulary)
        self.mask = spec.vocabulary  # the id after those of the vocabulary
        self.embed = nn.Embedding(spec.vocabulary + 1, model.width)
        self.dropout = Dropout(model.dropout)
        self.length_head = nn.Linear(model.width, spec.max_words + 1)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, words_BL: Tensor, images: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the hidden states `(B, L, D)` of masked captions.

        Args:
            words_BL: Word ids with masks, padded with PAD.
            images: The keys and values of each block's cross-attention.
        """
        real_BL = words_BL != PAD
        x_BLD = self.dropout(self.embed(words_BL) + self.vertices[: words_BL.shape[1]])
        for block, image in zip(self.blocks, images, strict=True):
            x_BLD = block(x_BLD, image, mask=real_BL[:, None, None])
        return self.norm(x_BLD)

    def log_prob(self, image_BND: Tensor, captions_BRL: Tensor, part: Part = WHOLE) -> Tensor:
        """Return an estimate of the bound above, from one random choice of masks."""
        references, device = captions_BRL.shape[1], captions_BRL.device
        words_XL = self._words(captions_BRL)
        n_X = (words_XL != PAD).sum(-1)
        # In the CPU's memory, like the masks: a GPU is not asked how many there are.
        all_real_YL = self._words(part.known_captions(captions_BRL)) != PAD
        known_masked_XL = self._random_masks(part.rows(all_real_YL), part)
        masked_XL = known_masked_XL.to(device, non_blocking=True)
        images = self._images(image_BND)
        rows_of, log_p = [], []
        for known_rows, length in part.length_buckets(all_real_YL):
            rows = known_rows.to(device, non_blocking=True)
            words, masked = words_XL[rows, :length], masked_XL[rows, :length]
            places = places_of(known_masked_XL[known_rows, :length], device)
            x_BLD = self(
                words.masked_fill(masked, self.mask),
                [take_rows(image, rows // references) for image in images],
            )
            log_p_masked = -F.cross_entropy(
                self.words(x_BLD.flatten(0, 1)[places]), words.flatten()[places], reduction="none"
            )
            log_p.append(x_BLD.new_zeros(words.shape).masked_scatter(masked, log_p_masked).sum(-1))
            rows_of.append(rows)
        log_p_X = torch.cat(log_p)[torch.cat(rows_of).argsort()]
        length_BR = self._length(image_BND).gather(-1, n_X.view(-1, references))
        return length_BR + (n_X / masked_XL.sum(-1) * log_p_X).view(-1, references)

    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """Write captions by mask-predict; see `Readout.decode`."""
        length_BL, images = self._length(image_BND), self._images(image_BND)
        length_BL[:, 0] = -torch.inf  # no caption is empty
        n_B = length_BL.argmax(-1)
        real_BL = torch.arange(int(n_B.max()), device=n_B.device) < n_B[:, None]
        masked_BL, words_BL = real_BL, torch.full(real_BL.shape, PAD, device=n_B.device)
        # Padding has infinite confidence, so it is never masked.
        confidence_BL = torch.full(real_BL.shape, torch.inf, device=n_B.device)
        for at in range(1, decoding.passes + 1):
            logits_BLV = self.words(self(words_BL.masked_fill(masked_BL, self.mask), images))
            logits_BLV[..., : UNK + 1] = -torch.inf
            best_BL, word_BL = logits_BLV.log_softmax(-1).max(-1)
            words_BL, confidence_BL = (
                torch.where(masked_BL, word_BL, words_BL),
                torch.where(masked_BL, best_BL, confidence_BL),
            )
            remask_B = n_B * (decoding.passes - at) // decoding.passes
            masked_BL = (
                confidence_BL.argsort(dim=-1, stable=True).argsort(dim=-1) < remask_B[:, None]
            )
        return [words[:n] for words, n in zip(words_BL.tolist(), n_B.tolist(), strict=True)]

    def _words(self, captions_BRL: Tensor) -> Tensor:
        words_XL = captions_BRL.flatten(0, 1)[:, : len(self.vertices)]
        return words_XL.masked_fill(words_XL == EOS, PAD)  # the length determines the end

    def _random_masks(self, real_XL: Tensor, part: Part) -> Tensor:
        """Choose k ~ U{1 .. n} of each caption's n words at random."""
        n_X = real_XL.sum(-1)
        k_X = (part.drawn(torch.rand, n_X.shape, n_X.device) * n_X).floor() + 1
        order_XL = part.drawn(torch.rand, real_XL.shape, n_X.device).masked_fill(~real_XL, 2)
        return (order_XL.argsort(dim=-1).argsort(dim=-1) < k_X[:, None]) & real_XL

    def _images(self, image_BND: Tensor) -> list[tuple[Tensor, Tensor]]:
        blocks: Iterable[Any] = self.blocks  # DecoderBlocks: ModuleList does not keep their type
        return [block.cross_attention.keys_values(image_BND) for block in blocks]

    def _length(self, image_BND: Tensor) -> Tensor:
        """Return the log-probabilities `(B, L + 1)` of the number of words, from the mean token."""
        return self.length_head(image_BND.mean(1)).log_softmax(-1)
