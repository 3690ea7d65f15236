"""DSACap, our reading: the *image* is noised and denoised, and a parallel readout says what the denoiser sees.

The paper (ACM MM 2025, doi 10.1145/3746027.3755156) is public as an abstract. What it leaves open is decided here and marked
`our reading`; each such choice is a configuration key.

- latent z_0 (our reading): the tokens of a frozen image encoder, standardised per channel. Fixed targets cannot collapse.
- noise (our reading): variance preserving, cosine; t ~ U(0, t_max) in training.
- readout (our reading): directed-acyclic, see dag.py; others to compare it with stand beside it, behind the interface of readout.py.
- inference: the image is noised to `noise_level`, then denoised in `steps` deterministic steps; k captions are k noises in one batch.
  The clean image is at hand, so noise can only lose information by itself: `noise_level: 0` is the control that stands in every table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner.batch_parts import drawn
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Memory,
    Policy,
    by_image,
    noise_of,
)
from dsacap.captioner.reference_loss import reference_loss
from dsacap.method.cmlm import CMLM
from dsacap.method.ctc import CTC
from dsacap.method.dag import DirectedAcyclic
from dsacap.method.denoiser import Denoiser
from dsacap.method.inspection import Frame, Inside, distance
from dsacap.method.noise import add_noise, ddim_step
from dsacap.method.slots import Slots

READOUTS = {"dag": DirectedAcyclic, "slots": Slots, "ctc": CTC, "cmlm": CMLM}

_DRAWS = 1 << 32  # from the seed of an image's noise to that of the words drawn


class DSACap(Captioner):
    in_parts = True
    inspects = True

    @dataclass(frozen=True)
    class Model:
        """`beta` sharpens the choice among references (0: their mean); `denoise_weight` is lambda of the loss.

        `readout` is dag or, for comparison, slots, ctc or cmlm; `vertices` are of dag and ctc, `transition_heads` of dag. With
        `self_conditioning` the denoiser attends to the soft caption of the pass before: in training that of a first pass, in half of the
        steps, in decoding that of the step before. `expansion` is the width of the feed-forwards' hidden layers, in widths: a smaller one
        pays for the adaLN that other systems lack.
        """

        width: int = 128
        heads: int = 4
        denoiser_layers: int = 2
        readout: str = "dag"
        readout_layers: int = 2
        vertices: int = 40
        transition_heads: int = 4
        expansion: int = 4
        t_max: float = 0.5
        beta: float = 8.0
        denoise_weight: float = 0.3
        dropout: float = 0.0
        self_conditioning: bool = False

        def __post_init__(self):
            if self.readout not in READOUTS:
                raise ValueError(f"readout: {self.readout!r} is none of {', '.join(READOUTS)}")
            if self.self_conditioning and not READOUTS[self.readout].self_conditions:
                able = ", ".join(
                    name for name, readout in READOUTS.items() if readout.self_conditions
                )
                raise ValueError(
                    f"self_conditioning is for the readouts {able}; {self.readout} has no soft caption"
                )
            if not 0 <= self.t_max <= 1 or self.beta < 0 or self.denoise_weight < 0:
                raise ValueError("needs 0 <= t_max <= 1, beta >= 0, denoise_weight >= 0")

    @dataclass(frozen=True)
    class Decoding:
        """`noise_level` is t_s, the time to which the image is noised: the dial of diversity. `steps` is K.

        `search` is draw, or, over the graph, lookahead or viterbi; without it a readout takes what it deems likeliest (the graph:
        lookahead). `candidates`, the words of a vertex that it may choose from, and `bigram_weight` are viterbi's. `temperature` is that
        of draw, which is a second dial of diversity: captions are drawn from the readout. `passes`, 1 to 4, are cmlm's.
        """

        noise_level: float = 0.3
        steps: int = 1
        search: str | None = None
        candidates: int = 3
        bigram_weight: float = 0.0
        temperature: float = 0.0
        passes: int = 1

        def __post_init__(self):
            if not 0 <= self.noise_level < 1 or self.steps < 1:
                raise ValueError("needs 0 <= noise_level < 1 and steps >= 1")
            if not 1 <= self.passes <= 4:
                raise ValueError("needs passes of 1 to 4")
            if self.search not in (None, "lookahead", "viterbi", "draw"):
                raise ValueError(f"search: {self.search!r} is none of lookahead, viterbi and draw")
            if self.temperature < 0 or (self.temperature > 0) != (self.search == "draw"):
                raise ValueError("a temperature > 0 and search: draw go together")
            if (
                self.candidates < 1
                or self.bigram_weight < 0
                or (self.bigram_weight and self.search != "viterbi")
            ):
                raise ValueError(
                    "needs candidates >= 1 and bigram_weight >= 0, and a bigram_weight needs search: viterbi"
                )

        @property
        def random(self) -> bool:
            return self.noise_level > 0 or self.search == "draw"

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.denoiser = Denoiser(
            spec.tokens,
            spec.channels,
            model.width,
            model.heads,
            model.denoiser_layers,
            model.dropout,
            model.expansion,
            model.self_conditioning,
        )
        self.readout = READOUTS[model.readout](model, spec)

    @classmethod
    def check(cls, model: Model, decoding: Decoding) -> None:
        READOUTS[model.readout].check(model.readout, decoding)

    @property
    def passes(self) -> list[nn.Module]:
        return [self.denoiser]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """-(1/beta) log mean_r exp(beta loglik_r / (n_r + 1)) + lambda |z0_hat - z_0|^2.

        The log-mean-exp over the references lets each image commit to the one that fits best, which parallel decoding needs: a mean
        would ask for all of them at once, and a path that mixes two references is a bad caption.
        """
        z0_BNC = batch.features
        z0_hat_BNC, hidden_BND = self._denoised(z0_BNC)
        caption_loss = reference_loss(
            self.readout.log_prob(hidden_BND, batch.captions), batch.captions, self.model.beta
        )
        denoise_loss = F.mse_loss(z0_hat_BNC, z0_BNC)
        return {
            "loss": caption_loss + self.model.denoise_weight * denoise_loss,
            "caption": caption_loss.detach(),
            "denoise": denoise_loss.detach(),
        }

    def policy(self, batch: Batch) -> Policy:
        """One readout an image, at a time as drawn in training. The gradient reaches readout and denoiser; the noise is exogenous."""
        return self.readout.policy(self._denoised(batch.features)[1])

    def _denoised(self, z0_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """What the denoiser makes of the image at a random time of training."""
        t_B = drawn(torch.rand, (len(z0_BNC),), z0_BNC.device) * self.model.t_max
        z_BNC, caption_BGD = (
            add_noise(z0_BNC, drawn(torch.randn, z0_BNC.shape, z0_BNC.device), t_B),
            None,
        )
        if self.model.self_conditioning and torch.rand(()) < 0.5:
            with torch.no_grad():
                caption_BGD = self.readout.soft_caption(self.denoiser(z_BNC, t_B)[1])
        return self.denoiser(z_BNC, t_B, caption_BGD)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        self._last_hidden = compiled(self._last_hidden)
        self.readout.speed_up(compiled)

    @property
    def completes(self) -> bool:
        return self.readout.completes

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        self.check(self.model, decoding)
        hidden_BND = self._seen(batch, samples, seed, decoding)
        uniform = partial(self._uniform, batch, samples, seed)
        if batch.prefix is None:
            captions = self.readout.decode(hidden_BND, decoding, uniform)
        else:
            captions = self.readout.complete(
                hidden_BND, decoding, uniform, batch.prefix.repeat_interleave(samples, 0)
            )
        return by_image(captions, samples)

    def _seen(self, batch: Batch, samples: int, seed: int, decoding: Decoding) -> Tensor:
        """The hidden states that the caption is read from. Rows are the samples of each image."""
        return self._last_hidden(
            self._noised(batch, samples, seed, decoding.noise_level),
            decoding.noise_level,
            decoding.steps,
        )

    @staticmethod
    def _noised(batch: Batch, samples: int, seed: int, noise_level: float) -> Tensor:
        """z_t at the time `noise_level`, a row for each sample of each image."""
        z_BNC = batch.features.repeat_interleave(samples, 0)
        if not noise_level:
            return z_BNC
        noise_BNC = noise_of(batch, samples, seed, z_BNC.shape[1:]).flatten(0, 1)
        return add_noise(z_BNC, noise_BNC, z_BNC.new_full((len(z_BNC),), noise_level))

    def _last_hidden(self, z_BNC: Tensor, noise_level: float, steps: int) -> Tensor:
        """Those of the last of K steps, which are one graph where this is compiled."""
        *_, (*_, hidden_BND) = self._walk(z_BNC, noise_level, steps)
        return hidden_BND

    def _walk(
        self, z_BNC: Tensor, noise_level: float, steps: int
    ) -> Iterator[tuple[float, Tensor, Tensor, Tensor]]:
        """Of each step: the time, z_t as it comes in, the prediction of z_0, and the hidden states."""
        caption_BGD = None
        for step in range(steps):
            t, t_next = (noise_level * (1 - at / steps) for at in (step, step + 1))
            t_B, next_B = (z_BNC.new_full((len(z_BNC),), time) for time in (t, t_next))
            z0_hat_BNC, hidden_BND = self.denoiser(z_BNC, t_B, caption_BGD)
            yield t, z_BNC, z0_hat_BNC, hidden_BND
            if (
                step + 1 < steps
            ):  # the readout wants the last pass' hidden states, not the state after it
                if noise_level:  # there is no step from a clean image
                    z_BNC = ddim_step(z_BNC, z0_hat_BNC, t_B, next_B)
                if self.model.self_conditioning:
                    caption_BGD = self.readout.soft_caption(hidden_BND)

    @staticmethod
    def _uniform(batch: Batch, samples: int, seed: int, shape: tuple[int, ...]) -> Tensor:
        # A seed of its own: the noise on the image comes from the other one, and would tell which word is drawn.
        return noise_of(batch, samples, seed + _DRAWS, shape, "uniform").flatten(0, 1)

    @torch.inference_mode()
    def inspect(self, batch: Batch, seed: int, decoding: Decoding, steps: int) -> list[Inside]:
        """The walk of `steps` steps begins at t_max; a system that was never shown noise has one step, at 0."""
        self.check(self.model, decoding)
        uniform = partial(self._uniform, batch, 1, seed)
        frames = [[] for _ in batch.image_ids]
        walk = self._walk(
            self._noised(batch, 1, seed, self.model.t_max),
            self.model.t_max,
            steps if self.model.t_max else 1,
        )
        for t, z_BNC, z0_hat_BNC, hidden_BND in walk:
            seen = (distance(z_BNC, batch.features), distance(z0_hat_BNC, batch.features))
            for of_image, *facts in zip(
                frames, *seen, self.readout.decode(hidden_BND, decoding, uniform), strict=True
            ):
                of_image.append(Frame(round(t, 4), *facts))
        hidden_BND = self._seen(batch, 1, seed, decoding)
        captions = self.readout.decode(hidden_BND, decoding, uniform)
        graphs = self.readout.graphs(hidden_BND, captions)
        return [Inside(*of_image) for of_image in zip(frames, captions, graphs, strict=True)]

    def learn_from(self, memory: Memory) -> None:
        self.readout.learn_from(memory)
