"""One parallel pass without noise or steps: the control for all diffusion captioners.

EENAIC (ICASSP 2023); DBNAIC (OpenReview s4n9b6CsNO). All positions of the caption are predicted at
the same time from one reading of the image tokens. The input of a position is a soft copy of the
image tokens, weighted by a Gaussian of the distance between their relative places in the two
sequences, plus the expected embedding of the word that this copy suggests. A bidirectional decoder
over the positions and the image then predicts the words. It is trained by cross-entropy on one
caption per image: the published models on a teacher's captions (`distilled_from`), here also
without a teacher. A word that repeats the previous one is dropped when a caption is written.

Deviations:

- The width of the Gaussian is learned.
- With `beta`, several references are combined by their log-mean-exp, as in DSACap.
- DBNAIC's second branch, which averages logits computed from another encoder's features, is left
  out, since there is only one encoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from dsacap.baselines.shared import (
    EncoderSize,
    ModuleList,
    image_encoder,
    replace_method,
    training_captions,
)
from dsacap.captioner.interface import Batch, Captioner, ImageSpec, Policy, by_image
from dsacap.captioner.layers import DecoderBlock
from dsacap.captioner.random_numbers import noise_of
from dsacap.captioner.reference_loss import reference_loss
from dsacap.captioner.slot_decoding import SlotPolicy, slot_log_probs, write_slots


class Parallel(Captioner):
    """A non-autoregressive captioner that predicts all words in one pass."""

    in_parts = True
    distance_LN: Tensor

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            beta: Sharpness of the choice among an image's references
                (dsacap/captioner/reference_loss.py); at 0 the loss is their mean.
        """

        decoder_layers: int = 3
        beta: float = 0.0

        def __post_init__(self):
            if self.beta < 0:
                raise ValueError("needs beta >= 0")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            temperature: Sampling temperature; 0 takes the likeliest word at each position.
        """

        temperature: float = 0.0

        def __post_init__(self):
            if self.temperature < 0:
                raise ValueError("needs temperature >= 0")

        @property
        def random(self) -> bool:
            """Whether several captions of an image differ."""
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.image_encoder = image_encoder(model, spec)
        self.suggest = nn.Linear(model.width, spec.vocabulary)
        self.embed = nn.Embedding(spec.vocabulary, model.width)
        self.position = nn.Parameter(torch.randn(spec.max_words + 1, model.width) * 0.02)
        self.blocks = ModuleList(
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
        """Return the log-probabilities of the words at every position [B, L + 1, V]."""
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
        """Return the cross-entropy of the references."""
        captions_BRL = training_captions(batch)
        log_prob_BR = SlotPolicy(self._log_probs(batch.features)).log_prob(captions_BRL)
        return {"loss": reference_loss(log_prob_BR, captions_BRL, self.model.beta)}

    def policy(self, batch: Batch) -> Policy:
        """Return the words at all positions as independent distributions."""
        return SlotPolicy(self._log_probs(batch.features), batch.part)

    def evidence(self, batch: Batch) -> Policy:
        """See `Captioner.evidence`."""
        return self.policy(batch)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the pass of the network."""
        replace_method(self, "_log_probs", compiled)

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions in one pass; see `Captioner.caption`."""
        words_BLV, uniform_XL = self._log_probs(batch.features), None
        if decoding.random:
            words_BLV = words_BLV.repeat_interleave(samples, 0)
            uniform_XL = noise_of(batch, samples, seed, words_BLV.shape[1:2], "uniform").flatten(
                0, 1
            )
        captions = [
            [word for word, _ in groupby(caption)]
            for caption in write_slots(words_BLV, uniform_XL, decoding.temperature)
        ]
        if not decoding.random:
            return [[caption] * samples for caption in captions]
        return by_image(captions, samples)
