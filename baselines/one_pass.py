"""The control of all diffusion captioners: one parallel pass, no noise, no steps (EENAIC, ICASSP 2023; DBNAIC, OpenReview s4n9b6CsNO).

Every place of the caption reads the image tokens once, all at the same time. A place starts as a soft copy of the image tokens, weighted
by a Gaussian of their distance along the two sequences, and the expected embedding of the word that this copy suggests; a bidirectional
decoder over the places and the image says the words. Trained by cross-entropy on one caption an image: published with a teacher's
captions (`distilled_from`), and here without a teacher too. A word that repeats the one before it is dropped when a caption is written.

Deviations: the width of the Gaussian is learned; with `beta`, several references are taken by their log-mean-exp, as DSACap does; DBNAIC's
second branch, which averages logits of another encoder's features, has no counterpart where there is one encoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from dsacap.captioner.interface import Batch, Captioner, ImageSpec, Policy, by_image, noise_of
from dsacap.captioner.layers import DecoderBlock, ImageEncoder
from dsacap.captioner.reference_loss import reference_loss
from dsacap.captioner.slot_decoding import SlotPolicy, slot_log_probs, write_slots


class Parallel(Captioner):
    in_parts = True

    @dataclass(frozen=True)
    class Model:
        """`beta` sharpens the choice among an image's references (dsacap/captioner/reference_loss.py); at 0 the loss is their mean."""

        width: int = 128
        heads: int = 4
        encoder_layers: int = 2
        decoder_layers: int = 3
        dropout: float = 0.0
        beta: float = 0.0

        def __post_init__(self):
            if self.beta < 0:
                raise ValueError("needs beta >= 0")

    @dataclass(frozen=True)
    class Decoding:
        """`temperature` 0 takes the likeliest word of each place."""

        temperature: float = 0.0

        def __post_init__(self):
            if self.temperature < 0:
                raise ValueError("needs temperature >= 0")

        @property
        def random(self) -> bool:
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.image_encoder = ImageEncoder(
            spec.tokens,
            spec.channels,
            model.width,
            model.heads,
            model.encoder_layers,
            model.dropout,
        )
        self.suggest = nn.Linear(model.width, spec.vocabulary)
        self.embed = nn.Embedding(spec.vocabulary, model.width)
        self.position = nn.Parameter(torch.randn(spec.max_words + 1, model.width) * 0.02)
        self.blocks = nn.ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, spec.vocabulary)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.log_width = nn.Parameter(torch.zeros(()))
        places, tokens = torch.linspace(0, 1, spec.max_words + 1), torch.linspace(0, 1, spec.tokens)
        self.register_buffer("distance_LN", (places[:, None] - tokens).square(), persistent=False)

    def _log_probs(self, features_BNC: Tensor) -> Tensor:
        """Of the words of every place [B, L + 1, V]."""
        image_BND = self.image_encoder(features_BNC)
        copy_LN = (-self.distance_LN / self.log_width.exp()).softmax(-1)
        copied_BLD = copy_LN @ image_BND
        x_BLD = (
            copied_BLD + self.suggest(copied_BLD).softmax(-1) @ self.embed.weight + self.position
        )
        for block in self.blocks:
            x_BLD = block(x_BLD, block.cross_attention.keys_values(image_BND))
        return slot_log_probs(self.head(self.norm(x_BLD)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        log_prob_BR = SlotPolicy(self._log_probs(batch.features)).log_prob(batch.captions)
        return {"loss": reference_loss(log_prob_BR, batch.captions, self.model.beta)}

    def policy(self, batch: Batch) -> Policy:
        return SlotPolicy(self._log_probs(batch.features))

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        self._log_probs = compiled(self._log_probs)

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        words_BLV, uniform_XL = self._log_probs(batch.features), None
        if decoding.random:
            words_BLV = words_BLV.repeat_interleave(samples, 0)
            uniform_XL = noise_of(batch, samples, seed, words_BLV.shape[1:2], "uniform").flatten(
                0, 1
            )
        captions = [
            [word for word, _ in groupby(said)]
            for said in write_slots(words_BLV, uniform_XL, decoding.temperature)
        ]
        if not decoding.random:
            return [[caption] * samples for caption in captions]
        return by_image(captions, samples)
