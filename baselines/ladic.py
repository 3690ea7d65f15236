"""LaDiC (Wang et al. 2024, arXiv 2404.10763): the sentence's latents are noised and denoised, and a text decoder says them.

A text encoder of 2n layers is split in two: its lower half turns words into latents, its upper half and a head turn latents into words.
A transformer with cross-attention to the image reads [x_t; its own estimate before] and predicts x_0 in T = 1000 steps of a linear beta
schedule (diffusers'). Training: noise `dilate` times as strong as in decoding, the length of the error of each place, and a share of
cross-entropy through the text decoder; the estimate before is given in half of the steps, the image left blank in a share of them.
Decoding: every `stride`-th time from the last one down, told a time a little later than it is; x_0 is estimated and noised anew each
time, with guidance. Back and refine (a switch, off in the authors' code): once, midway, the places that the decoder is least sure of
become noise again and the rest is kept. Words that repeat the one before are dropped.

The authors split BERT, which `language_model` names (ladic_text.py). Without one the text encoder is small, trained by masked language
modelling on the captions for the first `text_steps` steps, and frozen from then on, as theirs is: trained on beside the diffusion, its
latents moved away from what the diffusion had learnt (validation CIDEr fell from 64 to 14). Deviations: latents are standardised by
a running mean and deviation; those of places after the end are what the text encoder makes of the end and its padding, where the
authors put the embedding of a full stop; theirs refine by starting all places again, here the sure ones are held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from torch import Tensor, nn

from baselines.ladic_text import NamedText, SmallText
from dsacap.captioner.batch_parts import averaged, drawn, share
from dsacap.captioner.interface import Batch, Captioner, ImageSpec, by_image, noise_of
from dsacap.captioner.layers import DecoderBlock, ImageEncoder, TimeEmbedding, repeat_rows
from dsacap.common.files import check_pinned

_TIMES = 1000
_AHEAD = 5  # times by which the network is told a later one than that of its input
_MOMENTUM = 0.01  # of the running mean and deviation of latents
_REFINED = 1 / 3  # of the places, by back and refine


class LaDiC(Captioner):
    in_parts = True

    @dataclass(frozen=True)
    class Model:
        """`width` is the diffuser's, `words_weight` of cross-entropy. `language_model` is a BERT, with the commit of a name of the hub;
        without one, the text encoder has 2 x `text_layers` and `latent` channels a word, and the first `text_steps` of the training."""

        language_model: str | None = None
        revision: str | None = None
        width: int = 128
        latent: int = 64
        heads: int = 4
        encoder_layers: int = 2
        text_layers: int = 2
        text_steps: int = 500
        decoder_layers: int = 3
        dropout: float = 0.0
        dilate: float = 4.0
        words_weight: float = 0.2
        image_free: float = 0.1

        def __post_init__(self):
            if (
                not 0 <= self.image_free < 1
                or self.dilate <= 0
                or self.words_weight < 0
                or self.text_steps < 1
            ):
                raise ValueError(
                    "needs 0 <= image_free < 1, dilate > 0, words_weight >= 0 and text_steps >= 1"
                )
            if self.language_model:
                check_pinned(self.language_model, self.revision)

    @dataclass(frozen=True)
    class Decoding:
        """`stride` times a step, so about 1000 / stride steps of two passes each (one where `guidance` is 0)."""

        stride: int = 30
        guidance: float = 1.0
        refine: bool = False

        def __post_init__(self):
            if not 1 <= self.stride < _TIMES or self.guidance < 0:
                raise ValueError(f"needs 1 <= stride < {_TIMES} and guidance >= 0")

        @property
        def steps(self) -> int:
            return len(self.times)

        @property
        def times(self) -> range:
            return range(_TIMES - 1, 0, -self.stride)

        @property
        def random(self) -> bool:
            return True  # every caption starts from a noise of its own

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.text = (
            NamedText(model.language_model, model.revision, spec)
            if model.language_model
            else SmallText(model.latent, model.heads, model.text_layers, model.dropout, spec)
        )
        self.image_encoder = ImageEncoder(
            spec.tokens,
            spec.channels,
            model.width,
            model.heads,
            model.encoder_layers,
            model.dropout,
        )
        self.blank = nn.Parameter(torch.randn(spec.tokens, model.width) * 0.02)
        self.read = nn.Linear(2 * self.text.width, model.width)
        self.time = TimeEmbedding(model.width)
        self.position = nn.Parameter(torch.randn(self.text.length, model.width) * 0.02)
        self.blocks = nn.ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.write = nn.Linear(model.width, self.text.width)
        self.noise = DDIMScheduler(_TIMES, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(self.text.width))
        self.register_buffer("deviation", torch.ones(self.text.width))

    @property
    def passes(self) -> list[nn.Module]:
        return [self.write]

    # ------------------------------------------------------------------------------------------------------- training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        references = batch.captions.shape[1]
        words_XL = self.text.tokens(batch.captions.flatten(0, 1))
        x0 = self._latents(words_XL)
        self.trained_steps += self.training
        if self.text.grows:
            grown = self.trained_steps > self.model.text_steps
            self.text.requires_grad_(not grown)
            if not grown:
                return {"loss": (text_loss := self.text.loss(words_XL)), "text": text_loss.detach()}
        time_X = drawn(partial(torch.randint, 0, _TIMES), (len(x0),), x0.device)
        x = self.noise.add_noise(
            x0, drawn(torch.randn, x0.shape, x0.device) * self.model.dilate, time_X
        )
        memory_BND = self.image_encoder(batch.features)
        left_out_B = drawn(torch.rand, (len(memory_BND),), x.device) < self.model.image_free
        images = self._keys_values(
            torch.where(left_out_B[:, None, None], self.blank, memory_BND), references
        )
        guess = torch.zeros_like(x0)
        if torch.rand(()) < 0.5:
            with torch.no_grad():
                guess = self._denoised(x, guess, time_X, images)
        guess = self._denoised(x, guess, time_X, images)
        latent_loss = (guess - x0).norm(dim=-1).mean()
        words_loss = F.cross_entropy(self._logits(guess).flatten(0, 1), words_XL.flatten())
        return {
            "loss": latent_loss + self.model.words_weight * words_loss,
            "latent": latent_loss.detach(),
            "words": words_loss.detach(),
        }

    @torch.no_grad()
    def _latents(self, words_XL: Tensor) -> Tensor:
        """Standardised latents [X, L, E] of captions. In training the mean and deviation follow those of the batch."""
        latents = self.text.encode(words_XL)
        if self.training:
            mean, deviation = _moments(latents.flatten(0, 1))
            self.mean.lerp_(mean, _MOMENTUM)
            self.deviation.lerp_(deviation, _MOMENTUM)
        return (latents - self.mean) / self.deviation

    def _logits(self, x0: Tensor) -> Tensor:
        """Of the words [X, L, V] that the text decoder reads from standardised latents."""
        return self.text.decode(x0 * self.deviation + self.mean)

    def _denoised(
        self, x: Tensor, guess: Tensor, time_X: Tensor, images: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        time_XD = self.time(time_X / _TIMES)
        h_XLD = (
            self.read(torch.cat([x, guess], -1)) + self.position[: x.shape[1]] + time_XD[:, None]
        )
        for block, image in zip(self.blocks, images, strict=True):
            h_XLD = block(h_XLD, image)
        return self.write(self.norm(h_XLD))

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        self._from_noise, self._logits = compiled(self._from_noise), compiled(self._logits)

    def _keys_values(self, memory_BND: Tensor, times: int) -> list[tuple[Tensor, Tensor]]:
        return [
            repeat_rows(block.cross_attention.keys_values(memory_BND), times)
            for block in self.blocks
        ]

    # ------------------------------------------------------------------------------------------------------- decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        times = decoding.times
        images = self._keys_values(self.image_encoder(batch.features), samples)
        blank = (
            self._keys_values(self.blank.expand(len(batch.image_ids), -1, -1), samples)
            if decoding.guidance
            else None
        )
        rounds = 2 if decoding.refine else 1
        noises = noise_of(
            batch, samples, seed, (rounds, len(times) + 1, self.text.length, self.text.width)
        ).flatten(0, 1)
        x0 = self._from_noise(noises[:, 0], times, images, blank, decoding)
        if decoding.refine:
            x0 = self._refined(x0, noises[:, 1], times, images, blank, decoding)
        captions = [
            [word for word, _ in groupby(words)]
            for words in self.text.word_ids(self._writable(x0).argmax(-1))
        ]
        return by_image(captions, samples)

    def _from_noise(
        self, noises, times, images, blank, decoding, kept: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """x_0 after all times, which are one graph where this is compiled; `kept` are places [X, L, 1] and what they are held at."""
        x = noises[:, 0].contiguous()
        guess = torch.zeros_like(x)
        for at, time in enumerate(times):
            told_X = torch.full((len(x),), min(time + _AHEAD, _TIMES - 1), device=x.device)
            new = self._denoised(x, guess, told_X, images)
            if blank is not None:
                new = new + decoding.guidance * (new - self._denoised(x, guess, told_X, blank))
            guess = new if kept is None else torch.where(kept[0], kept[1], new)
            if at + 1 < len(times):
                x = self.noise.add_noise(
                    guess, noises[:, at + 1], told_X.new_full(told_X.shape, times[at + 1])
                )
        return guess

    def _refined(self, x0, noises, times, images, blank, decoding) -> Tensor:
        sure_XL = (
            self._logits(x0).softmax(-1).amax(-1)
        )  # of padding too: where it is not counted, only what follows the end is refined
        again = max(1, round(_REFINED * sure_XL.shape[1]))
        rank_XL = sure_XL.argsort(dim=-1, stable=True).argsort(dim=-1)
        return self._from_noise(
            noises, times, images, blank, decoding, ((rank_XL >= again)[..., None], x0)
        )

    def _writable(self, x0: Tensor) -> Tensor:
        logits = self._logits(x0)
        logits[..., self.text.never] = -torch.inf
        return logits


def _moments(flat_XE: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the batch of latents of this part."""
    if share() == 1:
        return flat_XE.mean(0), flat_XE.std(0)
    mean, rows = averaged(flat_XE.mean(0)), len(flat_XE) / share()
    return mean, (averaged((flat_XE - mean).square().mean(0)) * rows / (rows - 1)).sqrt()
