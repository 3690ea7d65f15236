"""Bit Diffusion (Chen, Zhang & Hinton 2022, arXiv 2208.04202): the bits of the word ids, as real numbers, are noised and denoised.

A word id of b bits is b numbers of -1 and 1 (analog bits, section 2.1). x_t = sqrt(g(t)) x_0 + sqrt(1 - g(t)) eps with a cosine g and
continuous time; a bidirectional transformer over all places, with cross-attention to the image, predicts x_0 by its squared error
(eq. 2), in half of the steps from its own estimate too (self-conditioning, section 2.2). Decoding goes K steps from noise; at each,
the state moves to a time that lies `asymmetry` steps further on than the network is told next (asymmetric time intervals, section 2.3),
without which captions fall apart. A threshold at 0 gives the bits; ids that no word has are dropped.

The average of weights that the paper decodes with is the training loop's (`training: {ema: ...}`). Deviations: the words are the
benchmark's instead of 32,000 sentence pieces, so fewer bits a word; places beyond a batch's longest caption are not trained; the image
encoder is the benchmark's frozen one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.analog_bits import AnalogBits, noised, stepped
from dsacap.captioner.batch_parts import Dropout, drawn
from dsacap.captioner.interface import Batch, Captioner, ImageSpec, by_image, noise_of, until_eos
from dsacap.captioner.layers import DecoderBlock, ImageEncoder, TimeEmbedding, repeat_rows


class BitDiffusion(Captioner):
    in_parts = True

    @dataclass(frozen=True)
    class Model:
        width: int = 128
        heads: int = 4
        encoder_layers: int = 2
        decoder_layers: int = 3
        dropout: float = 0.0

    @dataclass(frozen=True)
    class Decoding:
        """`steps` is K; `asymmetry` the paper's td, in steps; `sampler` is ddim, or ddpm, which adds noise at every step."""

        steps: int = 20
        asymmetry: float = 0.0
        sampler: str = "ddim"

        def __post_init__(self):
            if self.steps < 1 or self.asymmetry < 0:
                raise ValueError("needs steps >= 1 and asymmetry >= 0")
            if self.sampler not in ("ddim", "ddpm"):
                raise ValueError(f"sampler: {self.sampler!r} is neither ddim nor ddpm")

        @property
        def random(self) -> bool:
            return True  # every caption starts from a noise of its own

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.bits = AnalogBits(spec.vocabulary)
        self.image_encoder = ImageEncoder(
            spec.tokens,
            spec.channels,
            model.width,
            model.heads,
            model.encoder_layers,
            model.dropout,
        )
        self.read_bits = nn.Linear(2 * self.bits.count, model.width)
        self.time = TimeEmbedding(model.width)
        self.position = nn.Parameter(torch.randn(spec.max_words + 1, model.width) * 0.02)
        self.dropout = Dropout(model.dropout)
        self.blocks = nn.ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, self.bits.count)

    # ------------------------------------------------------------------------------------------------------- training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        references = batch.captions.shape[1]
        x0 = self.bits.of(batch.captions.flatten(0, 1))
        t_B = drawn(torch.rand, (len(x0),), x0.device)
        x = noised(x0, drawn(torch.randn, x0.shape, x0.device), t_B)
        images = [repeat_rows(image, references) for image in self._image_keys_values(batch)]
        guess = torch.zeros_like(x0)
        if torch.rand(()) < 0.5:
            with torch.no_grad():
                guess = self._denoised(x, guess, t_B, images)
        return {"loss": F.mse_loss(self._denoised(x, guess, t_B, images), x0)}

    def _denoised(
        self, x: Tensor, guess: Tensor, t_B: Tensor, images: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """The estimate of x_0 [B, L, b] at times t; `guess` is the estimate before, or 0."""
        time_BD = self.time(t_B)
        h_BLD = self.dropout(
            self.read_bits(torch.cat([x, guess], -1))
            + self.position[: x.shape[1]]
            + time_BD[:, None]
        )
        for block, image in zip(self.blocks, images, strict=True):
            h_BLD = block(h_BLD, image)
        return self.head(self.norm(h_BLD))

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        self._from_noise = compiled(self._from_noise)

    def _image_keys_values(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        memory_BND = self.image_encoder(batch.features)
        return [block.cross_attention.keys_values(memory_BND) for block in self.blocks]

    # ------------------------------------------------------------------------------------------------------- decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """The paper's algorithm 2."""
        images = [repeat_rows(image, samples) for image in self._image_keys_values(batch)]
        draws = decoding.steps if decoding.sampler == "ddpm" else 1
        noise = noise_of(
            batch, samples, seed, (draws, self.spec.max_words + 1, self.bits.count)
        ).flatten(0, 1)
        guess = self._from_noise(noise, images, decoding)
        captions = [until_eos(words) for words in self.bits.words(guess).tolist()]
        return by_image(captions, samples)

    def _from_noise(
        self, noise: Tensor, images: list[tuple[Tensor, Tensor]], decoding: Decoding
    ) -> Tensor:
        """The estimate of x_0 [B, L, b] after K steps, which are one graph where this is compiled; `noise` [B, draws, L, b]."""
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
            x = stepped(x, guess, now, to, fresh)
        return guess
