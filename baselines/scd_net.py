"""SCD-Net (Luo et al. 2023, arXiv 2212.03099): diffusion of analog bits that is told a sentence of a picture like this one.

As in Bit Diffusion, x_t = sqrt(g(t)) x_0 + sqrt(1 - g(t)) eps of the words' bits, with self-conditioning. Two things are new. A *semantic
transformer* reads the noised words together with a caption of a train image that looks like this one (section 3.2; any of the nearest few
in training, the nearest in decoding). And the network ends in a softmax over words, whose expected bits are the estimate of x_0: codes
need no meaning, and words are read off the softmax. The loss is the squared error of the bits and label-smoothed cross-entropy (eq. 5 and
6). Stages are *cascaded*: a later one reads the words of the one before as well (section 3.3), in training
the reference with some of its words exchanged.

Tuning by a reward: one pass from pure noise gives a distribution of every place, from which captions are drawn place by place; with
`guided: true` in the tuning, one of an image's captions is a reference, as in their guided self-critical training. Deviations: theirs
starts from a teacher's caption that is noised to a random time; images are the benchmark's frozen tokens, and found by the encoder's
pooled vectors; stages are trained together; the places after the end are trained to stay empty, where theirs are left out of the loss
(left out, captions here ran on past their end: validation CIDEr 85 after 1,000 steps and 42 after 2,000).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.analog_bits import AnalogBits, noised, stepped
from dsacap.captioner.batch_parts import Dropout, drawn
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Memory,
    Policy,
    by_image,
    noise_of,
    until_eos,
)
from dsacap.captioner.layers import (
    DecoderBlock,
    EncoderBlock,
    ImageEncoder,
    TimeEmbedding,
    repeat_rows,
)
from dsacap.captioner.slot_decoding import SlotPolicy, slot_log_probs
from dsacap.text.vocabulary import BOS, PAD, UNK

_LATEST = 0.999  # time of training
_EXCHANGED = 0.15  # of the words that a later stage reads, in training


class SCDNet(Captioner):
    in_parts = True

    @dataclass(frozen=True)
    class Model:
        """`cascades` stages, each with layers of its own but for the image's; `retrieved`: how many like images training chooses from."""

        width: int = 128
        heads: int = 4
        encoder_layers: int = 2
        semantic_layers: int = 1
        decoder_layers: int = 2
        dropout: float = 0.0
        cascades: int = 2
        retrieved: int = 5
        label_smoothing: float = 0.1

        def __post_init__(self):
            if self.cascades < 1 or self.retrieved < 1:
                raise ValueError("needs cascades >= 1 and retrieved >= 1")

    @dataclass(frozen=True)
    class Decoding:
        """`steps` of each stage; `asymmetry` of the first one, in steps (see bit_diffusion.py)."""

        steps: int = 20
        asymmetry: float = 0.0

        def __post_init__(self):
            if self.steps < 1 or self.asymmetry < 0:
                raise ValueError("needs steps >= 1 and asymmetry >= 0")

        @property
        def random(self) -> bool:
            return True  # every caption starts from a noise of its own

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec, self.memory = model, spec, None
        self.bits = AnalogBits(spec.vocabulary)
        self.image_encoder = ImageEncoder(
            spec.tokens,
            spec.channels,
            model.width,
            model.heads,
            model.encoder_layers,
            model.dropout,
        )
        self.stages = nn.ModuleList(
            _Stage(model, spec, self.bits.count) for _ in range(model.cascades)
        )
        self.register_buffer(
            "codes_Vb", self.bits.of(torch.arange(spec.vocabulary)), persistent=False
        )

    def learn_from(self, memory: Memory) -> None:
        self.memory = memory

    @property
    def passes(self) -> list[nn.Module]:
        return list(self.stages)

    def _like(self, batch: Batch, count: int) -> Tensor:
        """Captions of like train images [B, count, L + 1]."""
        if self.memory is None:
            raise ValueError("SCD-Net looks captions up: call learn_from first")
        return self.memory.nearest(batch.image_ids, count).to(batch.features.device)

    # ------------------------------------------------------------------------------------------------------- training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        references = batch.captions.shape[1]
        words_XL = batch.captions.flatten(0, 1)
        x0 = self.bits.of(words_XL)
        like_BKL = self._like(batch, self.model.retrieved).repeat_interleave(references, 0)
        like_XL = like_BKL[
            torch.arange(len(like_BKL)),
            drawn(partial(torch.randint, 0, like_BKL.shape[1]), (len(like_BKL),)),
        ]
        memory_BND = self.image_encoder(batch.features)
        exchanged_XL = (drawn(torch.rand, words_XL.shape, x0.device) < _EXCHANGED) & (
            words_XL != PAD
        )
        others_XL = drawn(
            partial(torch.randint, UNK + 1, self.spec.vocabulary), words_XL.shape, x0.device
        )
        before = self.bits.of(torch.where(exchanged_XL, others_XL, words_XL))
        losses = []
        for number, stage in enumerate(self.stages):
            t_X = drawn(torch.rand, (len(x0),), x0.device) * _LATEST
            x = noised(x0, drawn(torch.randn, x0.shape, x0.device), t_X)
            image, read = (
                stage.image(memory_BND, references),
                before if number else torch.zeros_like(x0),
            )
            guess = torch.zeros_like(x0)
            if torch.rand(()) < 0.5:
                with torch.no_grad():
                    guess = self._expected(stage(x, guess, read, t_X, image, like_XL))
            logits = stage(x, guess, read, t_X, image, like_XL)
            words_loss = F.cross_entropy(
                logits.flatten(0, 1), words_XL.flatten(), label_smoothing=self.model.label_smoothing
            )
            losses.append(F.mse_loss(self._expected(logits), x0) + words_loss)
        return {"loss": sum(losses)} | {
            f"stage_{number}": loss.detach() for number, loss in enumerate(losses, 1)
        }

    def _expected(self, logits_XLV: Tensor) -> Tensor:
        return logits_XLV.softmax(-1) @ self.codes_Vb

    def policy(self, batch: Batch) -> Policy:
        like_BL, memory_BND = self._like(batch, 1)[:, 0], self.image_encoder(batch.features)
        shape = (len(self.stages), len(like_BL), self.spec.max_words + 1, self.bits.count)
        noise = drawn(torch.randn, shape, memory_BND.device, dim=1)
        read = torch.zeros_like(noise[0])
        for stage, x in zip(self.stages, noise, strict=True):
            logits = stage(
                x,
                torch.zeros_like(x),
                read,
                x.new_ones(len(x)),
                stage.image(memory_BND, 1),
                like_BL,
            )
            read = self.bits.of(_writable(logits).argmax(-1))
        return SlotPolicy(slot_log_probs(logits))

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        self._written = compiled(self._written)

    # ------------------------------------------------------------------------------------------------------- decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        like_XL = self._like(batch, 1)[:, 0].repeat_interleave(samples, 0)
        memory_BND = self.image_encoder(batch.features)
        noise = noise_of(
            batch, samples, seed, (len(self.stages), self.spec.max_words + 1, self.bits.count)
        ).flatten(0, 1)
        images = [stage.image(memory_BND, samples) for stage in self.stages]
        words_XL = self._written(noise, images, like_XL, decoding)
        captions = [until_eos(words) for words in words_XL.tolist()]
        return by_image(captions, samples)

    def _written(
        self,
        noise: Tensor,
        images: list[list[tuple[Tensor, Tensor]]],
        like_XL: Tensor,
        decoding: Decoding,
    ) -> Tensor:
        """The words [X, L] after K steps of each stage, which are one graph where this is compiled; `noise` [X, stages, L, b]."""
        read = torch.zeros_like(noise[:, 0].contiguous())
        for number, (stage, image) in enumerate(zip(self.stages, images, strict=True)):
            x, guess, asymmetry = (
                noise[:, number].contiguous(),
                torch.zeros_like(read),
                0.0 if number else decoding.asymmetry,
            )
            for step in range(decoding.steps):
                now, to = (
                    1 - step / decoding.steps,
                    max(1 - (step + 1 + asymmetry) / decoding.steps, 0.0),
                )
                logits = stage(x, guess, read, x.new_full((len(x),), now), image, like_XL)
                guess = self._expected(logits)
                x = stepped(x, guess, now, to, torch.zeros_like(x))  # the mean of DDPM's step
            words_XL = _writable(logits).argmax(-1)
            read = self.bits.of(words_XL)
        return words_XL


def _writable(logits_XLV: Tensor) -> Tensor:
    logits_XLV = logits_XLV.clone()
    logits_XLV[..., [BOS, UNK]] = -torch.inf  # but PAD, which a later stage reads after the end
    return logits_XLV


class _Stage(nn.Module):
    """One diffusion transformer: noised words and a like image's caption first, then the words and the image."""

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
        self.blocks = nn.ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, spec.vocabulary)
        nn.init.normal_(self.embed.weight, std=0.02)

    def image(self, memory_BND: Tensor, times: int) -> list[tuple[Tensor, Tensor]]:
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
        image: list[tuple[Tensor, Tensor]],
        like_XL: Tensor,
    ) -> Tensor:
        """Logits of words [X, L, V] from noised bits x, the estimate before, and the words of the stage before, as bits [X, L, b] each."""
        length, time_XD = x.shape[1], self.time(t_X)
        words_XLD = (
            self.read(torch.cat([x, guess, read], -1))
            + self.position[0, :length]
            + time_XD[:, None]
        )
        told_XLD = self.embed(like_XL) + self.position[1, : like_XL.shape[1]]
        h_XLD = self.dropout(torch.cat([words_XLD, told_XLD], dim=1))
        for block in self.semantic:
            h_XLD = block(h_XLD)
        h_XLD = h_XLD[:, :length]
        for block, keys_values in zip(self.blocks, image, strict=True):
            h_XLD = block(h_XLD, keys_values)
        return self.head(self.norm(h_XLD))
