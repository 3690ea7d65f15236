"""DSACap, our reading: the *image* is noised and denoised, and a parallel readout captions it.

The paper (ACM MM 2025, doi 10.1145/3746027.3755156) is public only as an abstract. What it leaves
open is decided here and marked `our reading`; each such choice is a configuration key.

- Latent z_0 (our reading): the tokens of a frozen image encoder, standardised per channel. Fixed
  targets cannot collapse.
- Noise (our reading): variance preserving, with a cosine schedule; t ~ U(0, t_max) in training,
  the same for all tokens unless `noise_per_token`.
- Readout (our reading): a directed acyclic graph, see dag.py. Others, for comparison, implement the
  same interface (readout.py).
- Inference: the image is noised to `noise_level`, then denoised in `steps` deterministic steps. The
  k captions of an image come from k draws of noise, in one batch. The clean image is available, so
  noise by itself can only lose information: `noise_level: 0` is the control in every table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner.batch_parts import Part
from dsacap.captioner.interface import Batch, Captioner, ImageSpec, Policy, by_image
from dsacap.captioner.memory import Memory
from dsacap.captioner.random_numbers import noise_of
from dsacap.captioner.reference_loss import reference_loss
from dsacap.method.cmlm import CMLM
from dsacap.method.ctc import CTC
from dsacap.method.dag import DirectedAcyclic
from dsacap.method.denoiser import Denoiser
from dsacap.method.inspection import Frame, Inside, distance
from dsacap.method.noise import add_noise, ddim_step, shifted
from dsacap.method.readout import Readout
from dsacap.method.slots import Slots

READOUTS: dict[str, type[DirectedAcyclic | Slots | CTC | CMLM]] = {
    "dag": DirectedAcyclic,
    "slots": Slots,
    "ctc": CTC,
    "cmlm": CMLM,
}

_WORD_SEED = 1 << 32  # added to the seed of the image's noise: the seed by which words are drawn
_PATH_SEARCHES = ("viterbi", "perturb")  # those that score whole paths


class DSACap(Captioner):
    """Captioner that denoises the image and reads the caption from the denoiser's hidden states."""

    tuning_revision = 2
    in_parts = True
    inspects = True

    @dataclass(frozen=True)
    class Model:
        """Options of size and training objective.

        Attributes:
            width: Width of all transformers.
            heads: Attention heads.
            denoiser_layers: Layers of the denoiser.
            readout: `dag` or, for comparison, `slots`, `ctc` or `cmlm`.
            readout_layers: Layers of the readout.
            vertices: Vertices of `dag` and `ctc`.
            transition_heads: Heads of the transitions of `dag`.
            expansion: Hidden width of feed-forwards over `width`; under 4 to pay for adaLN.
            read_from: Layer of the denoiser, from 1 on, that the readout attends to; 0 is the last.
            t_max: Highest time to which the image is noised in training.
            noise_shift: Factor by which training raises the ratio of noise to signal at each time.
            noise_per_token: Whether training draws a time for each token, not for each image.
            beta: How sharply the best reference is selected; 0 is their mean.
            denoise_weight: Weight lambda of the denoising loss.
            dropout: Dropout rate.
            feature_dropout: Dropout rate of the projected latents; None for `dropout`.
            glance: Words of a reference that training shows to `dag`, per word that it has wrong.
            self_conditioning: Whether the denoiser attends to the soft caption of the previous
                pass: in training that of a first pass, in half of the steps; in decoding that of
                the previous step.
        """

        width: int = 128
        heads: int = 4
        denoiser_layers: int = 2
        readout: str = "dag"
        readout_layers: int = 2
        vertices: int = 40
        transition_heads: int = 4
        expansion: int = 4
        read_from: int = 0
        t_max: float = 0.5
        noise_shift: float = 1.0
        noise_per_token: bool = False
        beta: float = 8.0
        denoise_weight: float = 0.3
        dropout: float = 0.0
        feature_dropout: float | None = None
        glance: float = 0.0
        self_conditioning: bool = False

        def __post_init__(self):
            if self.readout not in READOUTS:
                raise ValueError(f"readout: {self.readout!r} is not one of {', '.join(READOUTS)}")
            if self.self_conditioning and not READOUTS[self.readout].self_conditions:
                able = ", ".join(name for name, of in READOUTS.items() if of.self_conditions)
                raise ValueError(
                    f"self_conditioning works only with the readouts {able}; {self.readout} has no"
                    " soft caption"
                )
            if not 0 <= self.glance <= 1 or (self.glance and self.readout != "dag"):
                raise ValueError("needs 0 <= glance <= 1, and readout: dag if it is not 0")
            if not 0 <= self.read_from <= self.denoiser_layers:
                raise ValueError(
                    f"read_from: {self.read_from} is not a layer from 1 to denoiser_layers, nor 0"
                )
            if self.noise_shift <= 0:
                raise ValueError("needs noise_shift > 0")
            if not 0 <= self.t_max <= 1 or self.beta < 0 or self.denoise_weight < 0:
                raise ValueError("needs 0 <= t_max <= 1, beta >= 0, denoise_weight >= 0")

    @dataclass(frozen=True)
    class Decoding:
        """Options of decoding.

        Attributes:
            noise_level: t_s, the time to which the image is noised; it controls diversity.
            steps: K, the number of denoising steps.
            search: `draw` or, for `dag`, `lookahead`, `viterbi` or `perturb`. None takes what the
                readout considers likeliest, which for `dag` is `lookahead`.
            candidates: Words per vertex that `viterbi` and `perturb` consider.
            bigram_weight: Weight of the bigram model in `viterbi` and `perturb`.
            length_penalty: Exponent of the length by which `viterbi` and `perturb` divide a path's
                log-probability.
            temperature: That of `draw`, or the scale of `perturb`'s noise; both control diversity.
            passes: Passes of `cmlm`, 1 to 4.
        """

        noise_level: float = 0.3
        steps: int = 1
        search: str | None = None
        candidates: int = 3
        bigram_weight: float = 0.0
        length_penalty: float = 1.0
        temperature: float = 0.0
        passes: int = 1

        def __post_init__(self):
            if not 0 <= self.noise_level < 1 or self.steps < 1:
                raise ValueError("needs 0 <= noise_level < 1 and steps >= 1")
            if not 1 <= self.passes <= 4:
                raise ValueError("needs passes of 1 to 4")
            if self.search not in (None, "lookahead", "viterbi", "draw", "perturb"):
                raise ValueError(
                    f"search: {self.search!r}: not lookahead, viterbi, draw or perturb"
                )
            if self.temperature < 0 or (self.temperature > 0) != self.draws:
                raise ValueError(
                    "search: draw and perturb need a temperature > 0, and no other search has a"
                    " temperature"
                )
            if self.candidates < 1 or self.bigram_weight < 0 or self.length_penalty < 0:
                raise ValueError("needs candidates >= 1, bigram_weight and length_penalty >= 0")
            for name, without_effect in {"bigram_weight": 0, "length_penalty": 1}.items():
                if getattr(self, name) != without_effect and self.search not in _PATH_SEARCHES:
                    raise ValueError(f"a {name} needs search: {' or '.join(_PATH_SEARCHES)}")

        @property
        def draws(self) -> bool:
            """Whether words are drawn at random."""
            return self.search in ("draw", "perturb")

        @property
        def random(self) -> bool:
            """Whether the captions of an image differ."""
            return self.noise_level > 0 or self.draws

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
            model.read_from,
            model.feature_dropout,
        )
        self.readout: Readout = READOUTS[model.readout](model, spec)

    @classmethod
    def check(cls, model: Model, decoding: Decoding) -> None:
        """See `Captioner.check`."""
        READOUTS[model.readout].check(model.readout, decoding)

    @property
    def passes(self) -> list[nn.Module]:
        """The denoiser, whose calls count as passes of the network."""
        return [self.denoiser]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return -(1/beta) log mean_r exp(beta loglik_r / (n_r + 1)) + lambda |z0_hat - z_0|^2.

        The log-mean-exp over the references lets each image commit to the one that fits best.
        Parallel decoding needs this: a mean would ask for all of them at once, and a path that
        mixes two references is a bad caption.
        """
        assert batch.captions is not None  # batches of training have references
        z0_BNC = batch.features
        z0_hat_BNC, hidden_BND = self._denoised(z0_BNC, batch.part)
        log_prob_BR = self.readout.log_prob(hidden_BND, batch.captions, batch.part)
        caption_loss = reference_loss(log_prob_BR, batch.captions, self.model.beta)
        denoise_loss = F.mse_loss(z0_hat_BNC, z0_BNC)
        return {
            "loss": caption_loss + self.model.denoise_weight * denoise_loss,
            "caption": caption_loss.detach(),
            "denoise": denoise_loss.detach(),
        }

    def policy(self, batch: Batch) -> Policy:
        """Return the readout's policy at a time of noise drawn as in training.

        The gradient reaches the readout and the denoiser; the noise is exogenous.
        """
        _, hidden_BND = self._denoised(batch.features, batch.part)
        return self.readout.policy(hidden_BND, batch.part)

    def evidence(self, batch: Batch) -> Policy:
        """See `Captioner.evidence`: the image is at time 0."""
        _, hidden_BND = self.denoiser(batch.features, batch.features.new_zeros(len(batch.features)))
        return self.readout.policy(hidden_BND)

    def _denoised(self, z0_BNC: Tensor, part: Part) -> tuple[Tensor, Tensor]:
        """Return the denoiser's outputs for the image noised to a random time of training."""
        times = z0_BNC.shape[:2] if self.model.noise_per_token else z0_BNC.shape[:1]
        t_B = part.drawn(torch.rand, times, z0_BNC.device) * self.model.t_max
        if self.model.noise_shift != 1:
            t_B = shifted(t_B, self.model.noise_shift)
        z_BNC = add_noise(z0_BNC, part.drawn(torch.randn, z0_BNC.shape, z0_BNC.device), t_B)
        caption_BGD = None
        if self.model.self_conditioning and torch.rand(()) < 0.5:
            with torch.no_grad():
                caption_BGD = self.readout.soft_caption(self.denoiser(z_BNC, t_B)[1])
        return self.denoiser(z_BNC, t_B, caption_BGD)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """See `Captioner.speed_up`."""
        self._last_hidden = compiled(self._last_hidden)  # type: ignore[method-assign]  # per instance
        self.readout.speed_up(compiled)

    @property
    def completes(self) -> bool:
        """See `Captioner.completes`."""
        return self.readout.completes

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """See `Captioner.caption`."""
        self.check(self.model, decoding)
        hidden_BND = self._hidden_states(batch, samples, seed, decoding)
        uniform = partial(self._uniform, batch, samples, seed)
        if batch.prefix is None:
            captions = self.readout.decode(hidden_BND, decoding, uniform)
        else:
            captions = self.readout.complete(
                hidden_BND, decoding, uniform, batch.prefix.repeat_interleave(samples, 0)
            )
        return by_image(captions, samples)

    def _hidden_states(self, batch: Batch, samples: int, seed: int, decoding: Decoding) -> Tensor:
        """Return the hidden states that captions are read from, one row per image and sample."""
        return self._last_hidden(
            self._noised(batch, samples, seed, decoding.noise_level),
            decoding.noise_level,
            decoding.steps,
        )

    @staticmethod
    def _noised(batch: Batch, samples: int, seed: int, noise_level: float) -> Tensor:
        """Return z_t at time `noise_level`, a row for each sample of each image."""
        z_BNC = batch.features.repeat_interleave(samples, 0)
        if not noise_level:
            return z_BNC
        noise_BNC = noise_of(batch, samples, seed, z_BNC.shape[1:]).flatten(0, 1)
        return add_noise(z_BNC, noise_BNC, z_BNC.new_full((len(z_BNC),), noise_level))

    def _last_hidden(self, z_BNC: Tensor, noise_level: float, steps: int) -> Tensor:
        """Return the hidden states of the last of K steps, which compile to a single graph."""
        *_, (*_, hidden_BND) = self._walk(z_BNC, noise_level, steps)
        return hidden_BND

    def _walk(
        self, z_BNC: Tensor, noise_level: float, steps: int
    ) -> Iterator[tuple[float, Tensor, Tensor, Tensor]]:
        """Iterate over the steps: time, input z_t, prediction of z_0, hidden states."""
        caption_BGD = None
        for step in range(steps):
            t, t_next = (noise_level * (1 - at / steps) for at in (step, step + 1))
            t_B, next_B = (z_BNC.new_full((len(z_BNC),), time) for time in (t, t_next))
            z0_hat_BNC, hidden_BND = self.denoiser(z_BNC, t_B, caption_BGD)
            yield t, z_BNC, z0_hat_BNC, hidden_BND
            if step + 1 < steps:  # the readout uses the hidden states, not the last step's result
                if noise_level:  # a clean image needs no step
                    z_BNC = ddim_step(z_BNC, z0_hat_BNC, t_B, next_B)
                if self.model.self_conditioning:
                    caption_BGD = self.readout.soft_caption(hidden_BND)

    @staticmethod
    def _uniform(batch: Batch, samples: int, seed: int, shape: tuple[int, ...]) -> Tensor:
        # The seed differs from that of the image's noise, or the noise would determine the words.
        return noise_of(batch, samples, seed + _WORD_SEED, shape, "uniform").flatten(0, 1)

    @torch.inference_mode()
    def inspect(self, batch: Batch, seed: int, decoding: Decoding, steps: int) -> list[Inside]:
        """Record a denoising from `t_max`; see `Captioner.inspect`.

        A system that was trained without noise has a single step, at time 0.
        """
        self.check(self.model, decoding)
        uniform = partial(self._uniform, batch, 1, seed)
        frames: list[list[Frame]] = [[] for _ in batch.image_ids]
        walk = self._walk(
            self._noised(batch, 1, seed, self.model.t_max),
            self.model.t_max,
            steps if self.model.t_max else 1,
        )
        for t, z_BNC, z0_hat_BNC, hidden_BND in walk:
            noisy_B = distance(z_BNC, batch.features)
            error_B = distance(z0_hat_BNC, batch.features)
            captions = self.readout.decode(hidden_BND, decoding, uniform)
            for of_image, noisy, error, caption in zip(
                frames, noisy_B, error_B, captions, strict=True
            ):
                of_image.append(Frame(round(t, 4), noisy, error, caption))
        hidden_BND = self._hidden_states(batch, 1, seed, decoding)
        captions = self.readout.decode(hidden_BND, decoding, uniform)
        graphs = self.readout.graphs(hidden_BND, captions)
        return [Inside(*of_image) for of_image in zip(frames, captions, graphs, strict=True)]

    def learn_from(self, memory: Memory) -> None:
        """See `Captioner.learn_from`."""
        super().learn_from(memory)
        self.readout.learn_from(memory)
