"""SCD-Net: diffusion of analog bits that also reads a caption of a similar training image.

Luo et al. 2023, arXiv 2212.03099. As in Bit Diffusion, the words' bits are noised to
x_t = sqrt(g(t)) x_0 + sqrt(1 - g(t)) eps, and the network is self-conditioned. Two things are new:

- A *semantic transformer* reads the noised words together with a caption of a similar training
  image (section 3.2): in training that of a random one of the nearest few, in decoding that of the
  nearest.
- The network ends in a softmax over words, and the expected bits under it are the estimate of x_0.
  Codes therefore need no meaning, and words are read off the softmax. The loss is the squared error
  of the bits plus label-smoothed cross-entropy (eq. 5 and 6).

Stages are *cascaded*: a later stage also reads the words of the previous one (section 3.3); in
training it reads the reference with some of its words exchanged.

Tuning by a reward: one pass from pure noise gives a distribution over words at each position, from
which captions are drawn position by position. With `guided: true` in the tuning, one of an image's
captions is a reference, as in the authors' guided self-critical training. Deviations:

- The authors' tuning starts from a teacher's caption that is noised to a random time.
- Images are the benchmark's frozen tokens, and similar ones are found by the encoder's pooled
  vectors.
- The stages are trained together.
- Positions after the end are trained to stay empty; the authors leave them out of the loss. When
  they were left out here, captions ran on past their end (validation CIDEr 85 after 1,000 steps and
  42 after 2,000).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.baselines.analog_bits import AnalogBits, noised, stepped
from dsacap.baselines.shared import (
    EncoderSize,
    KeysValues,
    ModuleList,
    image_encoder,
    replace_method,
    training_captions,
)
from dsacap.captioner.batch_parts import Dropout
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    noise_of,
    until_eos,
)
from dsacap.captioner.layers import (
    DecoderBlock,
    EncoderBlock,
    TimeEmbedding,
    repeat_rows,
)
from dsacap.captioner.slot_decoding import SlotPolicy, slot_log_probs
from dsacap.text.vocabulary import BOS, PAD, UNK

_LATEST = 0.999  # the latest time of training
_EXCHANGED = 0.15  # share of the words that are exchanged in what a later stage reads in training


class SCDNet(Captioner):
    """A cascade of diffusion captioners over analog bits, conditioned on a retrieved caption."""

    in_parts = True
    codes_Vb: Tensor

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            semantic_layers: Layers of each stage's semantic transformer.
            decoder_layers: Layers of each stage's decoder.
            cascades: Number of stages. Each has layers of its own, except for the image encoder.
            retrieved: Number of similar images from which training chooses one.
        """

        semantic_layers: int = 1
        decoder_layers: int = 2
        cascades: int = 2
        retrieved: int = 5
        label_smoothing: float = 0.1

        def __post_init__(self):
            if self.cascades < 1 or self.retrieved < 1:
                raise ValueError("needs cascades >= 1 and retrieved >= 1")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            steps: Number of denoising steps of each stage.
            asymmetry: Time asymmetry of the first stage, in steps (see bit_diffusion.py).
        """

        steps: int = 20
        asymmetry: float = 0.0
        random: ClassVar[bool] = True  # every caption starts from noise of its own

        def __post_init__(self):
            if self.steps < 1 or self.asymmetry < 0:
                raise ValueError("needs steps >= 1 and asymmetry >= 0")

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.bits = AnalogBits(spec.vocabulary)
        self.image_encoder = image_encoder(model, spec)
        self.stages = ModuleList(
            _Stage(model, spec, self.bits.count) for _ in range(model.cascades)
        )
        self.register_buffer(
            "codes_Vb", self.bits.encode(torch.arange(spec.vocabulary)), persistent=False
        )

    @property
    def passes(self) -> list[nn.Module]:
        """The stages, whose calls count as passes of the network."""
        return list(self.stages)

    def _similar(self, batch: Batch, count: int) -> Tensor:
        """Return captions [B, count, L + 1] of the most similar training images."""
        if self.memory is None:
            raise ValueError("SCD-Net looks up captions of training images: call learn_from first")
        return self.memory.nearest(batch.image_ids, count).to(batch.features.device)

    # ------------------------------------------------------------------------------------ training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of all stages, each at a random time (eq. 5 and 6)."""
        captions_BRL = training_captions(batch)
        references = captions_BRL.shape[1]
        words_XL = captions_BRL.flatten(0, 1)
        x0 = self.bits.encode(words_XL)
        similar_XKL = self._similar(batch, self.model.retrieved).repeat_interleave(references, 0)
        similar_XL = similar_XKL[
            torch.arange(len(similar_XKL)),
            batch.part.drawn(partial(torch.randint, 0, similar_XKL.shape[1]), (len(similar_XKL),)),
        ]
        memory_BND = self.image_encoder(batch.features)
        exchanged_XL = (batch.part.drawn(torch.rand, words_XL.shape, x0.device) < _EXCHANGED) & (
            words_XL != PAD
        )
        others_XL = batch.part.drawn(
            partial(torch.randint, UNK + 1, self.spec.vocabulary), words_XL.shape, x0.device
        )
        before = self.bits.encode(torch.where(exchanged_XL, others_XL, words_XL))
        losses: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            t_X = batch.part.drawn(torch.rand, (len(x0),), x0.device) * _LATEST
            x = noised(x0, batch.part.drawn(torch.randn, x0.shape, x0.device), t_X)
            image = stage.image(memory_BND, references)
            read = before if number else torch.zeros_like(x0)
            guess = torch.zeros_like(x0)
            if torch.rand(()) < 0.5:
                with torch.no_grad():
                    guess = self._expected(stage(x, guess, read, t_X, image, similar_XL))
            logits = stage(x, guess, read, t_X, image, similar_XL)
            words_loss = F.cross_entropy(
                logits.flatten(0, 1), words_XL.flatten(), label_smoothing=self.model.label_smoothing
            )
            losses.append(F.mse_loss(self._expected(logits), x0) + words_loss)
        return {"loss": sum(losses[1:], start=losses[0])} | {
            f"stage_{number}": loss.detach() for number, loss in enumerate(losses, 1)
        }

    def _expected(self, logits_XLV: Tensor) -> Tensor:
        """Return the expected bits [X, L, b]."""
        return logits_XLV.softmax(-1) @ self.codes_Vb

    def policy(self, batch: Batch) -> Policy:
        """Return the words at all positions as independent distributions, from pure noise."""
        similar_BL, memory_BND = self._similar(batch, 1)[:, 0], self.image_encoder(batch.features)
        shape = (len(self.stages), len(similar_BL), self.spec.max_words + 1, self.bits.count)
        noise = batch.part.drawn(torch.randn, shape, memory_BND.device, dim=1)
        read = torch.zeros_like(noise[0])
        for stage, x in zip(self.stages, noise, strict=True):
            logits = stage(
                x,
                torch.zeros_like(x),
                read,
                x.new_ones(len(x)),
                stage.image(memory_BND, 1),
                similar_BL,
            )
            read = self.bits.encode(_writable(logits).argmax(-1))
        return SlotPolicy(slot_log_probs(logits), batch.part)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the denoising steps of all stages as one function."""
        replace_method(self, "_written", compiled)

    # ------------------------------------------------------------------------------------ decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by the cascade of stages; see `Captioner.caption`."""
        similar_XL = self._similar(batch, 1)[:, 0].repeat_interleave(samples, 0)
        memory_BND = self.image_encoder(batch.features)
        noise = noise_of(
            batch, samples, seed, (len(self.stages), self.spec.max_words + 1, self.bits.count)
        ).flatten(0, 1)
        images = [stage.image(memory_BND, samples) for stage in self.stages]
        words_XL = self._written(noise, images, similar_XL, decoding)
        captions = [until_eos(words) for words in words_XL.tolist()]
        return by_image(captions, samples)

    def _written(
        self,
        noise: Tensor,
        images: list[list[KeysValues]],
        similar_XL: Tensor,
        decoding: Decoding,
    ) -> Tensor:
        """Return the words [X, L] after K steps of each stage, from `noise` [X, stages, L, b].

        All steps are in one function, so that compiling gives one graph.
        """
        read = torch.zeros_like(noise[:, 0].contiguous())
        for number, (stage, image) in enumerate(zip(self.stages, images, strict=True)):
            x, guess = noise[:, number].contiguous(), torch.zeros_like(read)
            asymmetry = 0.0 if number else decoding.asymmetry
            for step in range(decoding.steps):
                now = 1 - step / decoding.steps
                to = max(1 - (step + 1 + asymmetry) / decoding.steps, 0.0)
                logits = stage(x, guess, read, x.new_full((len(x),), now), image, similar_XL)
                guess = self._expected(logits)
                x = stepped(x, guess, now, to, torch.zeros_like(x))  # the mean of DDPM's step
            words_XL = _writable(logits).argmax(-1)
            read = self.bits.encode(words_XL)
        return words_XL


def _writable(logits_XLV: Tensor) -> Tensor:
    """Return the logits with words at -inf that no caption contains."""
    logits_XLV = logits_XLV.clone()
    logits_XLV[..., [BOS, UNK]] = -torch.inf  # not PAD, which a later stage reads after the end
    return logits_XLV


class _Stage(nn.Module):
    """One diffusion transformer: a semantic transformer, then a decoder that attends to the image.

    The semantic transformer reads the noised words and a similar image's caption.
    """

    def __init__(self, model: SCDNet.Model, spec: ImageSpec, bits: int):
        super().__init__()
        self.read = nn.Linear(3 * bits, model.width)
        self.time = TimeEmbedding(model.width)
        self.embed = nn.Embedding(spec.vocabulary, model.width)
        self.position = nn.Parameter(torch.randn(2, spec.max_words + 1, model.width) * 0.02)
        self.dropout = Dropout(model.dropout)
        self.semantic = nn.ModuleList(
            EncoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.semantic_layers)
        )
        self.blocks = ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, spec.vocabulary)
        nn.init.normal_(self.embed.weight, std=0.02)

    def image(self, memory_BND: Tensor, times: int) -> list[KeysValues]:
        """Return each block's keys and values of the image tokens, with rows repeated `times`."""
        return [
            repeat_rows(block.cross_attention.keys_values(memory_BND), times)
            for block in self.blocks
        ]

    def forward(
        self,
        x: Tensor,
        guess: Tensor,
        read: Tensor,
        t_X: Tensor,
        image: list[KeysValues],
        similar_XL: Tensor,
    ) -> Tensor:
        """Return the logits of words [X, L, V].

        Args:
            x: The noised bits, (X, L, b).
            guess: The previous estimate of x_0, or 0, (X, L, b).
            read: The bits of the previous stage's words, or 0, (X, L, b).
            t_X: The time of each row.
            image: The keys and values of the image tokens.
            similar_XL: A caption of a similar training image, as word ids.
        """
        length, time_XD = x.shape[1], self.time(t_X)
        words_XLD = (
            self.read(torch.cat([x, guess, read], -1))
            + self.position[0, :length]
            + time_XD[:, None]
        )
        similar_XLD = self.embed(similar_XL) + self.position[1, : similar_XL.shape[1]]
        h_XLD = self.dropout(torch.cat([words_XLD, similar_XLD], dim=1))
        for block in self.semantic:
            h_XLD = block(h_XLD)
        h_XLD = h_XLD[:, :length]
        for block, keys_values in zip(self.blocks, image, strict=True):
            h_XLD = block(h_XLD, keys_values)
        return self.head(self.norm(h_XLD))
