"""The interface of DSACap's readouts: captions and their likelihood, from what the denoiser sees.

A non-causal transformer over G learned vertices cross-attends to the denoiser's hidden states. What
a vertex stands for depends on the readout: a vertex of a graph, a place in the caption, or a place
before repetitions are collapsed.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import Policy
from dsacap.captioner.layers import DecoderBlock
from dsacap.captioner.memory import Memory
from dsacap.common.errors import UserError
from dsacap.method.inspection import Graph

_COMMON_OPTIONS = ("noise_level", "steps", "search")

# Maps a shape to uniform numbers in [0, 1), an array of that shape for each decoded row.
Uniform = Callable[[tuple[int, ...]], Tensor]


class Readout(nn.Module, ABC):
    """Base class of readouts, with the transformer that they share.

    Args:
        model: An instance of `DSACap.Model`.
        vertices: Number of vertices (G).
        words: Number of outputs of the word head.

    Attributes:
        searches: Values of `Decoding.search` that it supports, in addition to None.
        options: Options of `Decoding` that it supports, in addition to those of all readouts.
        self_conditions: Whether it implements `expected_words`, and so has a soft caption.
        completes: Whether it implements `complete`.
    """

    searches: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()
    self_conditions: ClassVar[bool] = False
    completes: ClassVar[bool] = False

    def __init__(self, model, vertices: int, words: int):
        super().__init__()
        self.vertices = nn.Parameter(torch.randn(vertices, model.width) * 0.02)
        self.blocks = nn.ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout, model.expansion)
            for _ in range(model.readout_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.words = nn.Linear(model.width, words)

    def states(self, image_BND: Tensor, shown_BGD: Tensor | None = None) -> Tensor:
        """Return the last hidden states `(B, G, D)` of the vertices.

        Args:
            image_BND: The denoiser's hidden states.
            shown_BGD: What is added to the vertices.
        """
        x_BGD = self.vertices.expand(len(image_BND), -1, -1)
        if shown_BGD is not None:
            x_BGD = x_BGD + shown_BGD
        block: Any  # a DecoderBlock: ModuleList does not keep the type
        for block in self.blocks:
            x_BGD = block(x_BGD, block.cross_attention.keys_values(image_BND))
        return self.norm(x_BGD)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """See `Captioner.speed_up`."""
        self.states = compiled(self.states)  # type: ignore[method-assign]  # per instance

    def policy(self, image_BND: Tensor, part: Part = WHOLE) -> Policy:
        """Return the distribution over captions, with gradients.

        Args:
            image_BND: The denoiser's hidden states.
            part: The part of a batch that they are of.

        Raises:
            UserError: The readout does not compute the probability of a caption.
        """
        raise UserError(
            f"the readout {type(self).__name__} does not compute the probability of a caption, so"
            " it cannot be tuned by a reward"
        )

    def log_prob(self, image_BND: Tensor, captions_BRL: Tensor, part: Part = WHOLE) -> Tensor:
        """Return the log-likelihood `(B, R)` of references, which training maximises.

        Args:
            image_BND: The denoiser's hidden states.
            captions_BRL: References, terminated by EOS and padded with PAD.
            part: The part of a batch that they are of.
        """
        return self.policy(image_BND, part).log_prob(captions_BRL)

    @abstractmethod
    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """Return one caption per row, as word ids without special ones; none is empty.

        Args:
            image_BND: The denoiser's hidden states.
            decoding: An instance of `DSACap.Decoding`.
            uniform: Source of uniform random numbers, which only the searches `draw` and
                `perturb` use.
        """

    def complete(
        self, image_BND: Tensor, decoding, uniform: Uniform, prefix_BP: Tensor
    ) -> list[list[int]]:
        """Return captions as `decode` does, but with the words `prefix_BP` at their beginning."""
        raise NotImplementedError

    def graphs(self, image_BND: Tensor, captions: list[list[int]]) -> Sequence[Graph | None]:
        """Return for each caption the graph in which it is a path, or None without graphs."""
        return [None] * len(captions)

    def expected_words(self, image_BND: Tensor) -> Tensor:
        """Return the probability `(B, G, V)` that a vertex is used and emits a word."""
        raise NotImplementedError

    @torch.no_grad()
    def soft_caption(self, image_BND: Tensor) -> Tensor:
        """Return the expected embedding `(B, G, D)` of the word of each vertex, without gradient.

        It uses the output embeddings of words. With self-conditioning the denoiser attends to this
        soft caption in its next pass.
        """
        return self.expected_words(image_BND) @ self.words.weight

    def learn_from(self, memory: Memory) -> None:
        """See `Captioner.learn_from`."""

    @classmethod
    def check(cls, name: str, decoding) -> None:
        """Check that the readout supports the options of a decoding.

        Args:
            name: Name of the readout, for messages.
            decoding: An instance of `DSACap.Decoding`.

        Raises:
            ValueError: It does not support one of them.
        """
        if decoding.search is not None and decoding.search not in cls.searches:
            raise ValueError(
                f"search: {decoding.search} is not available for readout: {name}; available:"
                f" {', '.join(cls.searches) or 'none, leave it out'}"
            )
        for field in dataclasses.fields(decoding):
            if (
                field.name not in _COMMON_OPTIONS + cls.options
                and getattr(decoding, field.name) != field.default
            ):
                raise ValueError(f"{field.name} is not an option of readout: {name}; leave it out")
