"""What every readout offers DSACap: captions, and how likely they are, from what the denoiser saw of the image.

A non-causal transformer over G learned vertices cross-attends to the denoiser's hidden states. What a vertex stands for is the readout's
own: a vertex of a graph, a place in the caption, a place before repeats are collapsed.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from dsacap.captioner.interface import Memory, Policy
from dsacap.captioner.layers import DecoderBlock
from dsacap.common.errors import UserError
from dsacap.method.inspection import Graph

_OF_EVERY_READOUT = ("noise_level", "steps", "search")

Uniform = Callable[
    [tuple[int, ...]], Tensor
]  # shape -> numbers in [0, 1), one such shape for each row that is decoded


class Readout(nn.Module, ABC):
    """`model` and `decoding` are DSACap.Model and DSACap.Decoding."""

    searches: ClassVar[
        tuple[str, ...]
    ] = ()  # values of Decoding.search that it serves, beside its own
    options: ClassVar[
        tuple[str, ...]
    ] = ()  # options of Decoding that it serves, beside those of every readout
    self_conditions: ClassVar[bool] = False  # whether there is a soft caption of it
    completes: ClassVar[bool] = False  # whether it can `complete`

    def __init__(self, model, vertices: int, words: int):
        super().__init__()
        self.vertices = nn.Parameter(torch.randn(vertices, model.width) * 0.02)
        self.blocks = nn.ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout, model.expansion)
            for _ in range(model.readout_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.words = nn.Linear(model.width, words)

    def states(self, image_BND: Tensor) -> Tensor:
        """The vertices' last states [B, G, D]."""
        x_BGD = self.vertices.expand(len(image_BND), -1, -1)
        for block in self.blocks:
            x_BGD = block(x_BGD, block.cross_attention.keys_values(image_BND))
        return self.norm(x_BGD)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """See Captioner.speed_up."""
        self.states = compiled(self.states)

    def policy(self, image_BND: Tensor) -> Policy:
        """For readouts that know the probability of a caption, by its gradient too."""
        raise UserError(
            f"the readout {type(self).__name__} gives no probabilities of captions, so it cannot be tuned by a reward"
        )

    def log_prob(self, image_BND: Tensor, captions_BRL: Tensor) -> Tensor:
        """Log-likelihood [B, R] of references, closed by EOS and filled with PAD: what training raises."""
        return self.policy(image_BND).log_prob(captions_BRL)

    @abstractmethod
    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """One caption a row: word ids without specials, none empty. Only a search that draws asks for `uniform` numbers."""

    def complete(
        self, image_BND: Tensor, decoding, uniform: Uniform, prefix_BP: Tensor
    ) -> list[list[int]]:
        """As `decode`, of captions that begin with P given words, where the readout `completes`."""
        raise NotImplementedError

    def graphs(self, image_BND: Tensor, captions: list[list[int]]) -> list[Graph | None]:
        """The graph that each caption is a path of, where the readout has one."""
        return [None] * len(captions)

    def expected_words(self, image_BND: Tensor) -> Tensor:
        """The probability [B, G, V] that a vertex takes part in the caption and says a word."""
        raise NotImplementedError

    @torch.no_grad()
    def soft_caption(self, image_BND: Tensor) -> Tensor:
        """Expected embedding [B, G, D] of what each vertex says, by the words' output embeddings, without gradient: the soft caption that
        the denoiser sees next, where the readout `self_conditions`."""
        return self.expected_words(image_BND) @ self.words.weight

    def learn_from(self, memory: Memory) -> None:
        """See Captioner.learn_from."""

    @classmethod
    def check(cls, name: str, decoding) -> None:
        """ValueError where `decoding` has an option that this readout, called `name`, cannot serve."""
        if decoding.search is not None and decoding.search not in cls.searches:
            raise ValueError(
                f"search: {decoding.search} is not for readout: {name}, which has {', '.join(cls.searches) or 'none to choose'}"
            )
        for field in dataclasses.fields(decoding):
            if (
                field.name not in _OF_EVERY_READOUT + cls.options
                and getattr(decoding, field.name) != field.default
            ):
                raise ValueError(f"{field.name} is not for readout: {name}; leave it out")
