"""The one door behind which every captioning system stands.

Shape letters, used as suffixes throughout: B images of a batch, R references an image, L words, V vocabulary, N image tokens,
C channels of the encoder, D model width, S samples an image, G vertices of the directed-acyclic graph.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dsacap.captioner.layers import Block
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import EOS, PAD, UNK

T = TypeVar("T")


@dataclass(frozen=True)
class ImageSpec:
    """What every captioner is told of its input and output: N tokens of C channels, V words, captions of at most L words; and, for systems
    that speak in pieces of words, the words themselves."""

    tokens: int
    channels: int
    vocabulary: int
    max_words: int
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """`features` [B, N, C] are standardised per channel; `captions` [B, R, L+1] are word ids, closed by EOS and filled with PAD.

    `prefix` [B, P] are words that captions must begin with, for systems that `complete`.
    """

    image_ids: tuple[int, ...]
    features: Tensor
    captions: Tensor | None = None
    prefix: Tensor | None = None


class Memory(ABC):
    """The train split, for what a system looks up in it, which is not in its weights. Read only when asked."""

    @abstractmethod
    def captions(self) -> Iterator[Sequence[int]]:
        """All captions as word ids, as in a batch."""

    @abstractmethod
    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """Of each image, a caption of each of the `count` train images that look most like it, itself left out [B, count, L + 1]."""


class Policy(ABC):
    """What a captioner would say of the images of one batch: what reinforcement draws from, and moves."""

    stops_early = False
    """Whether `sample` draws fewer random numbers where captions are short, so that what is drawn next depends on them."""

    @abstractmethod
    def sample(self, samples: int) -> Tensor:
        """Captions [B, S, L] drawn at temperature 1 by torch's global generator: word ids, closed by EOS and filled with PAD; none is
        empty. A caption of `max_words` words is cut there."""

    @abstractmethod
    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        """Log-probability [B, S] of captions, closed by EOS and filled with PAD, with its gradient."""

    def expected_overlap(self, captions_BRL: Tensor, orders: int, temperature: float) -> Tensor:
        """Expected n-gram overlap [B, R] with captions, in closed form and with its gradient, of words and transitions sharpened by a
        `temperature` below 1. Raises UserError where there is no closed form."""
        raise UserError(
            f"{type(self).__name__} has no closed form of expected n-grams; tune it by rewards of samples"
        )


class Captioner(nn.Module, ABC):
    """A system. Subclasses name two frozen dataclasses, `Model` (size and objective) and `Decoding`, which the configuration fills.

    A decoding whose `random` is true draws several different captions an image; otherwise one is asked for.
    """

    Model: ClassVar[type]
    Decoding: ClassVar[type]
    inspects: ClassVar[bool] = False  # whether it can `inspect`
    spec: ImageSpec  # what it was made with; the training loop and decoding ask it for the longest caption

    endless = False
    """Set where latency is measured by length: a caption then fills all its `max_words` places, whatever the network says."""

    fixed_shapes = False
    """Set by `speed_up`: decoding then pads to the longest caption there can be, so that its functions are compiled once."""

    in_parts = False
    """Whether training can work through a batch in parts (dsacap/captioner/batch_parts.py): `loss` is a mean over images, or divides what
    it adds up by what it counts in `whole` captions times `share`; and `loss` and `policy` draw random numbers by `drawn` and drop out by
    `Dropout`."""

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Replaces the functions of tensors in which decoding spends its time by what `compiled` makes of them, such as torch.compile.
        Captions stay what they are, but for rounding. Raises UserError where a system has none."""
        raise UserError(
            f"{type(self).__name__} says of no function of its own that it can be compiled"
        )

    @property
    def blocks_trained(self) -> list[nn.Module]:
        """The modules in which training spends its time: compiled one by one, where `training.compile` is true."""
        return [module for module in self.modules() if isinstance(module, Block)]

    @property
    def passes(self) -> Sequence[nn.Module]:
        """The modules whose calls are counted as passes of the network; none where nobody says."""
        return [self.head] if hasattr(self, "head") else []

    @property
    def completes(self) -> bool:
        """Whether `caption` begins with the words of a batch's `prefix` and goes on from there, as likely as they make the rest."""
        return False

    @classmethod
    def check(cls, model, decoding) -> None:
        """ValueError, which names the option, where a decoding asks for what such a model cannot do."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars to log; the one named `loss` is minimised. Randomness comes from torch's global generator, which the training
        loop seeds anew for every step."""

    def policy(self, batch: Batch) -> Policy:
        """For reinforcement, by systems that can say how likely a caption is. Where the image is noised, the noise is that of one draw,
        from torch's global generator. Raises UserError where the system cannot."""
        raise UserError(
            f"{type(self).__name__} gives no probabilities of captions, so it cannot be tuned by a reward"
        )

    def learn_from(self, memory: Memory) -> None:
        """Given the train split before it is trained and before it decodes, for systems that look something up in it."""

    def inspect(self, batch: Batch, seed: int, decoding, steps: int) -> list[Any]:
        """Of each image, a dataclass of plain data with what goes on inside as it is captioned, where the system `inspects`: see
        method/inspection.py. `steps` are of denoising; its `caption` is the first that `caption` draws with this seed. Raises UserError
        where the system shows nothing."""
        raise UserError(f"{type(self).__name__} shows nothing of its inside")

    @abstractmethod
    def caption(self, batch: Batch, samples: int, seed: int, decoding) -> list[list[list[int]]]:
        """Word ids, without specials, of `samples` captions for each image: nested as `[image][sample][word]`. What is random is drawn
        by `noise_of`, so a caption does not depend on which images share its batch."""


def noise_of(
    batch: Batch, samples: int, seed: int, shape: tuple[int, ...], kind: str = "normal"
) -> Tensor:
    """Random numbers [B, S, *shape], each slice from a generator of its own keyed by (seed, image id, sample).

    `kind` is "normal" or "uniform". Philox is counter-based: starting a generator costs microseconds.
    """
    noise = np.empty((len(batch.image_ids), samples, *shape), np.float32)
    for b, image_id in enumerate(batch.image_ids):
        for s in range(samples):
            generator = np.random.Generator(
                np.random.Philox(np.random.SeedSequence([seed, image_id, s]))
            )
            noise[b, s] = (
                generator.standard_normal(shape, np.float32)
                if kind == "normal"
                else generator.random(shape, np.float32)
            )
    return torch.from_numpy(noise).to(batch.features.device)


def closed(words_BSL: Tensor, ended_BSL: Tensor) -> Tensor:
    """Captions [B, S, L + 1] as a batch has them: EOS at the first place where one has ended, or after the last word, then PAD."""
    words_BSL, ended_BSL = (
        torch.nn.functional.pad(words_BSL, (0, 1)),
        torch.nn.functional.pad(ended_BSL, (0, 1), value=True),
    )
    before_BSL = ended_BSL.cumsum(-1)
    return words_BSL.masked_fill(before_BSL == 1, EOS).masked_fill(before_BSL > 1, PAD)


def by_image(captions: Sequence[T], samples: int) -> list[list[T]]:
    """One caption a row, `samples` rows an image: nested as `Captioner.caption` returns them."""
    return [list(captions[at : at + samples]) for at in range(0, len(captions), samples)]


def until_eos(words: list[int]) -> list[int]:
    """The words before the first EOS, without specials."""
    end = words.index(EOS) if EOS in words else len(words)
    return [word for word in words[:end] if word > UNK]
