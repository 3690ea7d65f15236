"""Bit Diffusion: the bits of the word ids, as real numbers, are noised and denoised.

Chen, Zhang & Hinton 2022, arXiv 2208.04202. A word id of b bits becomes b numbers of -1 or 1
(analog bits, section 2.1). The forward process is x_t = sqrt(g(t)) x_0 + sqrt(1 - g(t)) eps with a
cosine g and continuous time. A bidirectional transformer over all positions, with cross-attention
to the image, predicts x_0 by squared error (eq. 2); in half of the training steps it also reads its
own previous estimate (self-conditioning, section 2.2).

With `scale` below 1, x_0 is -scale or scale, and the network reads the noised bits divided by their
standard deviation (Chen 2023, arXiv 2301.10972, which shifts the schedule to noise by this; the
authors' code has it as `b_scale`, .1 for panoptic masks). At 1 a word's dozen bits are so redundant
that at half of the times it can be read off x_t, and training is copying.

Decoding takes K steps from pure noise. Each step moves the state `asymmetry` steps further than the
time that the network is given next (asymmetric time intervals, section 2.3); without this, captions
fall apart. Thresholding at 0 gives the bits, and codes without a word are dropped.

The paper decodes with an average of the weights, which is a setting of the training loop
(`training: {ema: ...}`). Deviations:

- The words are the benchmark's instead of 32,000 sentence pieces, so there are fewer bits per word.
- The image encoder is the benchmark's frozen one.
- The network predicts bits of -1 and 1 at any scale, so that the loss and its gradient keep their
  size; the authors' predicts -scale and scale.
- The noised bits are divided by their deviation in theory, theirs by that measured in each example.

A caption may be empty, as in the paper: bits have no word to fall back to. `codes: shuffled` makes
it unlikely that uncertainty is read as the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.baselines.analog_bits import AnalogBits, deviation, noised, stepped
from dsacap.baselines.shared import (
    EncoderSize,
    KeysValues,
    ModuleList,
    at_full_length,
    image_encoder,
    image_keys_values,
    replace_method,
    training_captions,
)
from dsacap.captioner.batch_parts import Dropout
from dsacap.captioner.interface import Batch, Captioner, ImageSpec, by_image, until_eos
from dsacap.captioner.layers import DecoderBlock, TimeEmbedding, repeat_rows
from dsacap.captioner.random_numbers import noise_of


class BitDiffusion(Captioner):
    """A diffusion captioner over the analog bits of word ids."""

    revision = 2
    in_parts = True

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            codes: Whether the code of a word is its id, or the ids are shuffled.
            scale: Size of the bits that are noised, at most 1; the noise has a deviation of 1.
        """

        decoder_layers: int = 3
        codes: Literal["ids", "shuffled"] = "ids"
        scale: float = 1.0

        def __post_init__(self):
            if self.codes not in ("ids", "shuffled") or not 0 < self.scale <= 1:
                raise ValueError("needs codes: ids or shuffled, and 0 < scale <= 1")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            steps: Number of denoising steps, K.
            asymmetry: The paper's td, in steps.
            sampler: `ddim`, or `ddpm`, which adds noise at every step.
        """

        steps: int = 20
        asymmetry: float = 0.0
        sampler: str = "ddim"
        random: ClassVar[bool] = True  # every caption starts from noise of its own

        def __post_init__(self):
            if self.steps < 1 or self.asymmetry < 0:
                raise ValueError("needs steps >= 1 and asymmetry >= 0")
            if self.sampler not in ("ddim", "ddpm"):
                raise ValueError(f"sampler: {self.sampler!r} is neither ddim nor ddpm")

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.bits = AnalogBits(spec.vocabulary, shuffled=model.codes == "shuffled")
        self.image_encoder = image_encoder(model, spec)
        self.read_bits = nn.Linear(2 * self.bits.count, model.width)
        self.time = TimeEmbedding(model.width)
        self.position = nn.Parameter(torch.randn(spec.max_words + 1, model.width) * 0.02)
        self.dropout = Dropout(model.dropout)
        self.blocks = ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, self.bits.count)

    # ------------------------------------------------------------------------------------ training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the squared error of the bits at a random time (eq. 2)."""
        captions_BRL = at_full_length(training_captions(batch), self.spec)
        x0 = self.bits.encode(captions_BRL.flatten(0, 1))
        t_B = batch.part.drawn(torch.rand, (len(x0),), x0.device)
        noise = batch.part.drawn(torch.randn, x0.shape, x0.device)
        x = noised(self.model.scale * x0, noise, t_B)
        images = [
            repeat_rows(image, captions_BRL.shape[1]) for image in self._image_keys_values(batch)
        ]
        guess = torch.zeros_like(x0)
        if torch.rand(()) < 0.5:
            with torch.no_grad():
                guess = self._denoised(x, guess, t_B, images)
        return {"loss": F.mse_loss(self._denoised(x, guess, t_B, images), x0)}

    def _denoised(self, x: Tensor, guess: Tensor, t_B: Tensor, images: list[KeysValues]) -> Tensor:
        """Return the estimate of the bits [B, L, b] at times t; `guess` is the previous, or 0."""
        time_BD = self.time(t_B)
        x = x / deviation(t_B, self.model.scale)[:, None, None]
        h_BLD = self.dropout(
            self.read_bits(torch.cat([x, guess], -1))
            + self.position[: x.shape[1]]
            + time_BD[:, None]
        )
        for block, image in zip(self.blocks, images, strict=True):
            h_BLD = block(h_BLD, image)
        return self.head(self.norm(h_BLD))

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the K denoising steps as one function."""
        replace_method(self, "_from_noise", compiled)

    def _image_keys_values(self, batch: Batch) -> list[KeysValues]:
        return image_keys_values(self.blocks, self.image_encoder(batch.features))

    # ------------------------------------------------------------------------------------ decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by the paper's algorithm 2; see `Captioner.caption`."""
        images = [repeat_rows(image, samples) for image in self._image_keys_values(batch)]
        draws = decoding.steps if decoding.sampler == "ddpm" else 1
        noise = noise_of(
            batch, samples, seed, (draws, self.spec.max_words + 1, self.bits.count)
        ).flatten(0, 1)
        guess = self._from_noise(noise, images, decoding)
        captions = [until_eos(words) for words in self.bits.decode(guess).tolist()]
        return by_image(captions, samples)

    def _from_noise(self, noise: Tensor, images: list[KeysValues], decoding: Decoding) -> Tensor:
        """Return the estimate of the bits [B, L, b] after K steps from `noise` [B, draws, L, b].

        All steps are in one function, so that compiling gives one graph.
        """
        x = noise[:, 0].contiguous()
        guess = torch.zeros_like(x)
        for step in range(decoding.steps):
            now = 1 - step / decoding.steps
            to = max(1 - (step + 1 + decoding.asymmetry) / decoding.steps, 0.0)
            guess = self._denoised(x, guess, x.new_full((len(x),), now), images).clamp(-1, 1)
            fresh = (
                noise[:, step + 1]
                if decoding.sampler == "ddpm" and step + 1 < decoding.steps
                else None
            )
            x = stepped(x, self.model.scale * guess, now, to, fresh)
        return guess
