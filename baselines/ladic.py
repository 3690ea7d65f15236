"""LaDiC: diffusion of a caption's latents, which a text decoder turns into words.

Wang et al. 2024, arXiv 2404.10763. A text encoder of 2n layers is split in two: its lower half
turns words into latents; its upper half and a head turn latents into words. A transformer with
cross-attention to the image reads x_t and its own previous estimate, and predicts x_0. The noise
has T = 1000 times with a linear beta schedule (diffusers').

Training: the noise is `dilate` times as strong as in decoding. The loss is the Euclidean norm of
each position's error, plus weighted cross-entropy through the text decoder. The previous estimate
is given in half of the steps, and the image is left blank for a share of the images.

Decoding: every `stride`-th time from the last one down. At each, x_0 is estimated with guidance and
then noised anew; the network is given a time slightly later than the true one. Back and refine (an
option, off in the authors' code): once, after a first round, the positions that the decoder is
least sure of become noise again, and are denoised in a second round that keeps the others. Words
that repeat the previous one are dropped.

The authors split a BERT, which `language_model` names (ladic_text.py). Without one, the text
encoder is small: it is trained by masked language modelling on the captions for `text_steps` steps,
then frozen but for its head, as theirs is. When it was trained together with the diffusion, its
latents moved away from what the diffusion had learnt (validation CIDEr fell from 64 to 14).
Deviations:

- A frozen text encoder has no dropout. The authors' training loop leaves BERT's .1 on, which is
  noise in the target that cannot be predicted.
- Latents are standardised by a running mean and deviation, since a small text encoder has none
  that are known; the authors' are those of COCO.
- Latents after the end of a caption are what the text encoder makes of the end and its padding; the
  authors use the embedding of a full stop, which not every text encoder has.
- The image that is left out becomes a learned blank; theirs becomes black pixels, which a frozen
  encoder's stored tokens cannot become.
- The end of a caption cannot be its first word. Theirs can, and scores 0.
- In the authors' back and refine all positions start again; here those that the decoder is sure of
  are held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import ClassVar

import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from dsacap.baselines.ladic_text import NamedText, SmallText, moments
from dsacap.baselines.shared import (
    EncoderSize,
    KeysValues,
    ModuleList,
    image_encoder,
    replace_method,
    training_captions,
)
from dsacap.captioner.batch_parts import Part
from dsacap.captioner.interface import Batch, Captioner, ImageSpec, by_image
from dsacap.captioner.layers import DecoderBlock, TimeEmbedding, repeat_rows
from dsacap.captioner.random_numbers import noise_of
from dsacap.common.files import check_pinned

_TIMES = 1000
_AHEAD = 5  # in decoding, the network is given a time this much later than the true one
_MOMENTUM = 0.01  # of the running mean and deviation of latents
_REFINED = 1 / 3  # share of the positions that back and refine denoises again


class LaDiC(Captioner):
    """A diffusion captioner over the latents of a text encoder."""

    revision = 2
    in_parts = True
    trained_steps: Tensor
    mean: Tensor
    deviation: Tensor

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            language_model: A BERT to split: a name on the hub, or a folder in transformers' format.
                Without one, a small text encoder is trained.
            revision: The commit of a BERT on the hub.
            width: Width of the diffusion transformer.
            latent: Channels per word of the small text encoder.
            text_layers: Layers of each half of the small text encoder.
            text_dropout: Its dropout while it is trained.
            text_steps: Number of first training steps that train the small text encoder alone.
            dilate: Factor on the noise in training.
            words_weight: Weight of the cross-entropy in the loss.
            image_free: Share of the images that training leaves blank, for guidance.
        """

        language_model: str | None = None
        revision: str | None = None
        latent: int = 64
        text_layers: int = 2
        text_dropout: float = 0.0
        text_steps: int = 500
        decoder_layers: int = 3
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
        """Decoding options.

        Attributes:
            stride: Times between two steps, so there are about 1000 / stride steps.
            guidance: Strength of classifier-free guidance. A step takes two passes of the network;
                with 0 it takes one.
            refine: Whether to denoise the least certain positions again.
        """

        stride: int = 30
        guidance: float = 1.0
        refine: bool = False
        random: ClassVar[bool] = True  # every caption starts from noise of its own

        def __post_init__(self):
            if not 1 <= self.stride < _TIMES or self.guidance < 0:
                raise ValueError(f"needs 1 <= stride < {_TIMES} and guidance >= 0")

        @property
        def steps(self) -> int:
            """Number of denoising steps."""
            return len(self.times)

        @property
        def times(self) -> range:
            """The times at which x_0 is estimated, from the noisiest on."""
            return range(_TIMES - 1, 0, -self.stride)

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.text: NamedText | SmallText = (
            NamedText(model.language_model, model.revision, spec)
            if model.language_model
            else SmallText(model.latent, model.heads, model.text_layers, model.text_dropout, spec)
        )
        self.image_encoder = image_encoder(model, spec)
        self.blank = nn.Parameter(torch.randn(spec.tokens, model.width) * 0.02)
        self.read = nn.Linear(2 * self.text.width, model.width)
        self.time = TimeEmbedding(model.width)
        self.position = nn.Parameter(torch.randn(self.text.length, model.width) * 0.02)
        self.blocks = ModuleList(
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
        """The output layer, which is called once in each pass."""
        return [self.write]

    # ------------------------------------------------------------------------------------ training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of the diffusion; in the first `text_steps`, of the text encoder."""
        captions_BRL = training_captions(batch)
        references = captions_BRL.shape[1]
        words_XL = self.text.tokens(captions_BRL.flatten(0, 1))
        self.trained_steps += self.training
        if isinstance(self.text, SmallText) and not self.text.frozen:  # the number waits for a GPU
            self.text.freeze(bool(self.trained_steps > self.model.text_steps))
        x0 = self._latents(words_XL, batch.part)
        if isinstance(self.text, SmallText) and not self.text.frozen:
            text_loss = self.text.loss(words_XL, batch.part)
            return {"loss": text_loss, "text": text_loss.detach()}
        time_X = batch.part.drawn(partial(torch.randint, 0, _TIMES), (len(x0),), x0.device)
        x = self.noise.add_noise(
            x0, batch.part.drawn(torch.randn, x0.shape, x0.device) * self.model.dilate, time_X
        )
        memory_BND = self.image_encoder(batch.features)
        left_out_B = (
            batch.part.drawn(torch.rand, (len(memory_BND),), x.device) < self.model.image_free
        )
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
    def _latents(self, words_XL: Tensor, part: Part) -> Tensor:
        """Return the standardised latents [X, L, E] of captions.

        In training, the running mean and deviation are first updated by this batch.
        """
        latents = self.text.encode(words_XL)
        if self.training:
            mean, deviation = moments(latents.flatten(0, 1), part)
            self.mean.lerp_(mean, _MOMENTUM)
            self.deviation.lerp_(deviation, _MOMENTUM)
        return (latents - self.mean) / self.deviation

    def _logits(self, x0: Tensor) -> Tensor:
        """Return the text decoder's logits of the tokens [X, L, V] for standardised latents."""
        return self.text.decode(x0 * self.deviation + self.mean)

    def _denoised(
        self, x: Tensor, guess: Tensor, time_X: Tensor, images: list[KeysValues]
    ) -> Tensor:
        """Return the estimate of x_0 [X, L, E]; `guess` is the previous one, or 0."""
        time_XD = self.time(time_X / _TIMES)
        h_XLD = (
            self.read(torch.cat([x, guess], -1)) + self.position[: x.shape[1]] + time_XD[:, None]
        )
        for block, image in zip(self.blocks, images, strict=True):
            h_XLD = block(h_XLD, image)
        return self.write(self.norm(h_XLD))

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the denoising steps as one function, and the text decoder."""
        replace_method(self, "_from_noise", compiled)
        replace_method(self, "_logits", compiled)

    def _keys_values(self, memory_BND: Tensor, times: int) -> list[KeysValues]:
        """Return each block's keys and values of the image tokens, with rows repeated `times`."""
        return [
            repeat_rows(block.cross_attention.keys_values(memory_BND), times)
            for block in self.blocks
        ]

    # ------------------------------------------------------------------------------------ decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by denoising latents; see `Captioner.caption`."""
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
        self,
        noises: Tensor,
        times: range,
        images: list[KeysValues],
        blank: list[KeysValues] | None,
        decoding: Decoding,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return x_0 [X, L, E] after all times.

        All steps are in one function, so that compiling gives one graph.

        Args:
            noises: Noise of the start and of each step, (X, steps + 1, L, E).
            times: The times at which x_0 is estimated.
            images: The keys and values of the image tokens.
            blank: The keys and values of the blank image, for guidance; None without guidance.
            decoding: The decoding options.
            kept: Positions (X, L, 1) that are held, and the latents that they are held at.
        """
        x = noises[:, 0].contiguous()
        guess = torch.zeros_like(x)
        for at, time in enumerate(times):
            later_X = torch.full((len(x),), min(time + _AHEAD, _TIMES - 1), device=x.device)
            new = self._denoised(x, guess, later_X, images)
            if blank is not None:
                new = new + decoding.guidance * (new - self._denoised(x, guess, later_X, blank))
            guess = new if kept is None else torch.where(kept[0], kept[1], new)
            if at + 1 < len(times):
                x = self.noise.add_noise(
                    guess, noises[:, at + 1], later_X.new_full(later_X.shape, times[at + 1])
                )
        return guess

    def _refined(
        self,
        x0: Tensor,
        noises: Tensor,
        times: range,
        images: list[KeysValues],
        blank: list[KeysValues] | None,
        decoding: Decoding,
    ) -> Tensor:
        """Return x_0 with the positions of least confidence denoised again from noise."""
        # Padding counts as a word here. Otherwise the positions after the end would be the least
        # certain ones, and only they would be refined.
        sure_XL = self._logits(x0).softmax(-1).amax(-1)
        again = max(1, round(_REFINED * sure_XL.shape[1]))
        rank_XL = sure_XL.argsort(dim=-1, stable=True).argsort(dim=-1)
        return self._from_noise(
            noises, times, images, blank, decoding, ((rank_XL >= again)[..., None], x0)
        )

    def _writable(self, x0: Tensor) -> Tensor:
        """Return the logits with those tokens at -inf that no caption contains."""
        logits = self._logits(x0)
        logits[..., self.text.forbidden] = -torch.inf
        logits[:, 0, self.text.end] = -torch.inf
        return logits
