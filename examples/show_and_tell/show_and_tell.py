"""Show and Tell (Vinyals et al. 2015, arXiv 1411.4555), an example of a system in its own package.

An LSTM gets the image once, before the first word (eq. 10 to 12), and then generates word by word;
training is cross-entropy with teacher forcing (eq. 13). Deviations: the image is the mean of the
frozen encoder's tokens, and words are greedy or sampled instead of the paper's beam of 20.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner import (
    BOS,
    EOS,
    PAD,
    UNK,
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    closed,
    noise_of,
    until_eos,
)


class ShowAndTell(Captioner):
    in_parts = True  # several GPUs, and accumulation: see Captioner.in_parts

    @dataclass(frozen=True)
    class Model:
        width: int = 256

    @dataclass(frozen=True)
    class Decoding:
        """`temperature` 0 takes the likeliest word."""

        temperature: float = 0.0

        def __post_init__(self):
            if self.temperature < 0:
                raise ValueError("needs temperature >= 0")

        @property
        def random(self) -> bool:
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.spec = spec
        self.see = nn.Linear(spec.channels, model.width)
        self.embed = nn.Embedding(spec.vocabulary, model.width)
        self.lstm = nn.LSTM(model.width, model.width, batch_first=True)
        self.head = nn.Linear(model.width, spec.vocabulary)

    def _shown(self, batch: Batch, times: int) -> tuple[Tensor, Tensor]:
        """The LSTM's state after it has seen each image, `times` times in a row."""
        image_B1D = self.see(batch.features.mean(1)).repeat_interleave(times, 0)[:, None]
        return self.lstm(image_B1D)[1]

    # Called by the training loop, which minimises the entry `loss` and logs all of them.
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        targets_XL = batch.captions.flatten(0, 1)
        logits_XLV = self._teacher_forced(batch, targets_XL)
        real_XL = targets_XL != PAD
        loss = F.cross_entropy(logits_XLV[real_XL], targets_XL[real_XL])
        return {
            "loss": loss
            * (
                real_XL.sum()
                / ((batch.part.all_captions(batch.captions) != PAD).sum() * batch.part.share)
            )
        }  # of all words, also in parts

    def _teacher_forced(self, batch: Batch, targets_XL: Tensor) -> Tensor:
        inputs_XL = F.pad(targets_XL[:, :-1], (1, 0), value=BOS)
        shown = self._shown(batch, len(targets_XL) // len(batch.image_ids))
        return self.head(self.lstm(self.embed(inputs_XL), shown)[0])

    # Called to decode. Random numbers come from `noise_of`, keyed by seed, image and sample, so
    # that captions do not depend on the batch.
    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        uniform_XL = None
        if decoding.random:
            uniform_XL = noise_of(batch, samples, seed, (self.spec.max_words,), "uniform").flatten(
                0, 1
            )
        words_XL = self._write(batch, samples, decoding.temperature, uniform_XL)
        captions = [until_eos(words) for words in words_XL.tolist()]
        return by_image(captions, samples)

    def _write(
        self, batch: Batch, samples: int, temperature: float, uniform_XL: Tensor | None
    ) -> Tensor:
        state, said = self._shown(batch, samples), []
        words_X = torch.full((len(batch.image_ids) * samples,), BOS, device=batch.features.device)
        for at in range(self.spec.max_words):
            hidden_X1D, state = self.lstm(self.embed(words_X)[:, None], state)
            logits_XV = self.head(hidden_X1D[:, 0])
            logits_XV[:, [PAD, BOS, UNK]] = -torch.inf
            if at == 0:
                logits_XV[:, EOS] = -torch.inf  # an empty caption is no caption
            if uniform_XL is None:
                words_X = logits_XV.argmax(-1)
            else:
                cumulative_XV = (logits_XV / temperature).softmax(-1).cumsum(-1)
                words_X = torch.searchsorted(
                    cumulative_XV,
                    uniform_XL[:, at : at + 1] * cumulative_XV[:, -1:] * (1 - 1e-6),
                    right=True,
                )[:, 0]
            said.append(words_X)
        return torch.stack(said, 1)

    # Only systems that can be tuned by a reward need this.
    def policy(self, batch: Batch) -> Policy:
        return _LikelyWords(self, batch)


class _LikelyWords(Policy):
    def __init__(self, captioner: ShowAndTell, batch: Batch):
        self.captioner, self.batch = captioner, batch

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        rows = len(self.batch.image_ids) * samples
        uniform_XL = self.batch.part.drawn(
            torch.rand, (rows, self.captioner.spec.max_words), self.batch.features.device
        )
        words_XL = self.captioner._write(self.batch, samples, 1.0, uniform_XL)
        words_BSL = words_XL.unflatten(0, (-1, samples))
        return closed(words_BSL, (words_BSL == EOS).cummax(-1).values)

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        targets_XL = captions_BSL.flatten(0, 1)
        log_p_XL = -F.cross_entropy(
            self.captioner._teacher_forced(self.batch, targets_XL).mT, targets_XL, reduction="none"
        )
        real_XL = targets_XL != PAD
        real_XL[:, self.captioner.spec.max_words :] = (
            False  # a caption that is cut there has not drawn its end
        )
        return (log_p_XL * real_XL).sum(-1).view(captions_BSL.shape[:2])
