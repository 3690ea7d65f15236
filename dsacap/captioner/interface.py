"""The interface that every captioning system implements.

Names of tensors end in their shape, one letter per dimension:

    B  images of a batch             N  image tokens
    R  references per image          C  channels of the image encoder
    S  samples per image             D  width of the model
    L  words of a caption            G  vertices of the directed acyclic graph
    V  words of the vocabulary       X  rows, such as all references of a batch

Captions are word ids. In tensors they are terminated by EOS and padded with PAD, so the longest, of
`max_words` words, takes `L + 1` places.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.layers import Block
from dsacap.captioner.memory import Memory
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import EOS, PAD, UNK

T = TypeVar("T")


@dataclass(frozen=True)
class ImageSpec:
    """Sizes of a captioner's input and output.

    Attributes:
        tokens: Tokens of an image (N).
        channels: Channels of the image encoder (C).
        vocabulary: Words of the vocabulary, special ones included (V).
        max_words: Words of the longest caption, EOS excluded (L).
        words: The words by id, for systems that split words into subword tokens.
    """

    tokens: int
    channels: int
    vocabulary: int
    max_words: int
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Images and, for training, their reference captions.

    Attributes:
        image_ids: The images' ids in their data set; they key the random numbers of decoding.
        features: Image tokens of shape `(batch, tokens, channels)`, standardised per channel.
        captions: References as word ids of shape `(batch, references, max_words + 1)`, terminated
            by EOS and padded with PAD. None when captions are generated.
        prefix: Word ids of shape `(batch, prefix length)` that the generated captions must begin
            with, for systems whose `completes` is true.
        part: Which part of a training batch this is: all of it, if nothing else is given.
    """

    image_ids: tuple[int, ...]
    features: Tensor
    captions: Tensor | None = None
    prefix: Tensor | None = None
    part: Part = WHOLE


class Policy(ABC):
    """A captioner's distribution over captions of the images of one batch.

    Reinforcement draws captions from it and differentiates their log-probability.
    """

    stops_early = False
    """Whether `sample` stops drawing once all captions have ended.

    The state in which it leaves torch's generator then depends on the captions.
    """

    @abstractmethod
    def sample(self, samples: int) -> Tensor:
        """Draw captions at temperature 1 from torch's global generator.

        Args:
            samples: Captions per image.

        Returns:
            Word ids of shape `(batch, samples, length)`, terminated by EOS and padded with PAD. No
            caption is empty, and a caption is cut after `max_words` words.
        """

    @abstractmethod
    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        """Return the log-probability of captions, with its gradient.

        Args:
            captions_BSL: Word ids of shape `(batch, samples, length)`, terminated by EOS and padded
                with PAD.

        Returns:
            Log-probabilities of shape `(batch, samples)`.
        """

    def expected_overlap(self, captions_BRL: Tensor, orders: int, temperature: float) -> Tensor:
        """Return the expected n-gram overlap with references, in closed form and with its gradient.

        Args:
            captions_BRL: References of shape `(batch, references, length)`, terminated by EOS and
                padded with PAD.
            orders: The overlap is the mean over n-grams of 1 to this many words.
            temperature: Below 1, it sharpens the distributions of words and of transitions.

        Returns:
            Overlaps of shape `(batch, references)`.

        Raises:
            UserError: The policy has no closed form.
        """
        raise UserError(
            f"{type(self).__name__} has no closed form for the expected n-gram overlap; tune it by"
            " tuning.rewards instead of tuning.ngrams"
        )


class Captioner(nn.Module, ABC):
    """Base class of all captioning systems.

    A subclass defines two frozen dataclasses, which the configuration fills in and checks, and is
    constructed as `cls(cls.Model(...), ImageSpec(...))`. It must implement `loss` and `caption`;
    the other methods are optional. `examples/show_and_tell` is a complete system in a package of
    its own, which registers it under the entry point group `dsacap.captioners`.

    Attributes:
        Model: Dataclass of the options of size and training objective.
        Decoding: Dataclass of the decoding options. It has a field or property `random`: whether
            several different captions per image can be drawn. If false, one is generated.
        inspects: Whether the system implements `inspect`.
        spec: The sizes that it was constructed with. The training loop and the decoding loop read
            the length of the longest caption from it.
    """

    Model: ClassVar[type]
    Decoding: ClassVar[type]
    inspects: ClassVar[bool] = False
    spec: ImageSpec

    revision: ClassVar[int] = 1  # raised when its code trains something else by the same options
    tuning_revision: ClassVar[int] = 1  # the same of its tuning; both are part of keys

    endless = False
    """Set to measure latency at a given length: every caption then has `max_words` words."""

    fixed_shapes = False
    """Set by `speed_up`: decoding then pads to `max_words`, so that functions compile only once."""

    memory: Memory | None = None
    """The train split, set by `learn_from`."""

    in_parts = False
    """Whether a batch can be trained on in parts (see `dsacap/captioner/batch_parts.py`).

    `loss` must then be a mean over images, or divide a sum by a count over the captions of the
    whole batch (`part.all_captions`) times the part's `share` of it. `loss` and `policy` must draw
    random numbers by `part.drawn` and apply dropout by `Dropout`.
    """

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the functions of tensors in which decoding spends its time.

        Captions stay the same up to rounding.

        Args:
            compiled: Compiles a function, for example `torch.compile`.

        Raises:
            UserError: The system does not support compiled decoding.
        """
        raise UserError(
            f"{type(self).__name__} does not support compiled decoding: it lacks a method speed_up"
        )

    @property
    def blocks_trained(self) -> list[nn.Module]:
        """Modules in which training spends its time; `training.compile: true` compiles each."""
        return [module for module in self.modules() if isinstance(module, Block)]

    @property
    def passes(self) -> Sequence[nn.Module]:
        """Modules whose calls count as passes of the network; by default `head`, if it exists."""
        head = getattr(self, "head", None)
        return [] if head is None else [head]

    @property
    def completes(self) -> bool:
        """Whether `caption` can continue the words in a batch's `prefix`.

        The rest of a caption then has its probability given the image and these words.
        """
        return False

    @classmethod
    def check(cls, model, decoding) -> None:
        """Check that such a `Model` supports the options of such a `Decoding`.

        Raises:
            ValueError: It does not; the message names the option.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the training loss of a batch.

        Randomness comes from torch's global generator, which the training loop seeds at each step.

        Returns:
            Scalars to log. The one named `loss` is minimised.
        """

    def policy(self, batch: Batch) -> Policy:
        """Return the distribution over captions of a batch, for tuning by rewards.

        If the system adds noise to the image, one draw of it, from torch's global generator, is
        part of the policy.

        Raises:
            UserError: The system does not compute the probability of a caption.
        """
        raise UserError(
            f"{type(self).__name__} does not compute the probability of a caption, so it cannot be"
            " tuned by a reward"
        )

    def evidence(self, batch: Batch) -> Policy:
        """Return the distribution over captions given the images as they are, without noise.

        Only systems whose `log_prob` is exact and without randomness implement it.

        Raises:
            UserError: The system does not.
        """
        raise UserError(
            f"{type(self).__name__} does not compute the exact probability of a caption, which"
            " choose: rerank needs"
        )

    def learn_from(self, memory: Memory) -> None:
        """Keep the train split, in which systems and decodings look things up, before they do."""
        self.memory = memory

    def inspect(self, batch: Batch, seed: int, decoding: Any, steps: int) -> list[Any]:
        """Record what happens inside the system while it captions, if `inspects` is true.

        Args:
            batch: The images.
            seed: As for `caption`.
            decoding: An instance of `Decoding`.
            steps: Denoising steps to record.

        Returns:
            For each image a dataclass of plain data (see `dsacap/method/inspection.py`). Its field
            `caption` is the first caption that `caption` returns for the same seed.

        Raises:
            UserError: The system does not support inspection.
        """
        raise UserError(f"{type(self).__name__} does not support inspection")

    @abstractmethod
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Any
    ) -> list[list[list[int]]]:
        """Generate captions.

        Random numbers must come from `noise_of`, so that the captions of an image do not depend on
        the other images of the batch, nor on the number of samples.

        Args:
            batch: The images, and perhaps a `prefix` to continue.
            samples: Captions per image.
            seed: Seed of the random numbers.
            decoding: An instance of `Decoding`.

        Returns:
            Word ids without special ones, nested as `[image][sample][word]`.
        """


def closed(words_BSL: Tensor, ended_BSL: Tensor) -> Tensor:
    """Terminate captions by EOS and pad them with PAD, as in a batch.

    Args:
        words_BSL: Word ids of shape `(..., length)`.
        ended_BSL: True from the end of a caption on, of the same shape. EOS is put at the first
            such place, or after the last word if there is none.

    Returns:
        Captions of shape `(..., length + 1)`.
    """
    words_BSL = torch.nn.functional.pad(words_BSL, (0, 1))
    ended_BSL = torch.nn.functional.pad(ended_BSL, (0, 1), value=True)
    before_BSL = ended_BSL.cumsum(-1)
    return words_BSL.masked_fill(before_BSL == 1, EOS).masked_fill(before_BSL > 1, PAD)


def by_image(captions: Sequence[T], samples: int) -> list[list[T]]:
    """Nest captions by image, where the captions of an image, `samples` of them, are adjacent."""
    return [list(captions[at : at + samples]) for at in range(0, len(captions), samples)]


def until_eos(words: list[int]) -> list[int]:
    """Return the words before the first EOS, without special ones."""
    end = words.index(EOS) if EOS in words else len(words)
    return [word for word in words[:end] if word > UNK]
