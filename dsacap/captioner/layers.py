"""Transformer layers that all systems share, so that none is better or faster by implementation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner.batch_parts import Dropout


class Attention(nn.Module):
    """Multi-head attention, whose keys and values are computed separately and can be cached.

    Args:
        width: Width of the model (D).
        heads: Number of heads; it must divide the width.
        dropout: Dropout rate of the output.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def keys_values(self, x_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of a sequence to attend to, each `(B, heads, N, D / heads)`."""
        keys, values = self.key_value(x_BND).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(
        self,
        x_BLD: Tensor,
        keys_values: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attend to a sequence.

        Args:
            x_BLD: The queries' inputs.
            keys_values: From `keys_values`, of N positions.
            mask: Broadcast to `(B, heads, L, N)`; True where attention is allowed.
            causal: Whether a position attends to itself and earlier ones only.

        Returns:
            Outputs of shape `(B, L, D)`.
        """
        attended = F.scaled_dot_product_attention(
            self._split(self.query(x_BLD)), *keys_values, attn_mask=mask, is_causal=causal
        )
        return self.dropout(self.out(attended.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Feed-forward network; `expansion` is the width of its hidden layer in units of `width`."""

    def __init__(self, width: int, dropout: float = 0.0, expansion: int = 4):
        hidden = expansion * width
        super().__init__(
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden, width),
            Dropout(dropout),
        )


class Block(nn.Module):
    """Base class of transformer layers; `training.compile: true` compiles them one by one."""


class EncoderBlock(Block):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.feed_forward = (
            Attention(width, heads, dropout),
            FeedForward(width, dropout),
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return the outputs, of the same shape."""
        h = self.norm1(x_BND)
        x_BND = x_BND + self.attention(h, self.attention.keys_values(h))
        return x_BND + self.feed_forward(self.norm2(x_BND))


class DecoderBlock(Block):
    """Pre-norm self-attention over the caption, cross-attention to the image, and feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0, expansion: int = 4):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention, self.cross_attention = (
            Attention(width, heads, dropout) for _ in range(2)
        )
        self.feed_forward = FeedForward(width, dropout, expansion)

    def forward(
        self,
        x_BLD: Tensor,
        image: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Return the outputs `(B, L, D)` of all positions of a caption.

        Args:
            x_BLD: The inputs.
            image: The cross-attention's keys and values of the image tokens.
            mask: Of the self-attention, broadcast to `(B, heads, L, L)`; True where it is allowed.
            causal: Whether the self-attention is causal.
        """
        h = self.norm1(x_BLD)
        return self.rest(
            x_BLD + self.self_attention(h, self.self_attention.keys_values(h), mask, causal), image
        )

    def step(
        self,
        x_B1D: Tensor,
        image: tuple[Tensor, Tensor],
        cache: tuple[Tensor, Tensor],
        at_1: Tensor,
        past_1L: Tensor,
    ) -> Tensor:
        """Return the output `(B, 1, D)` of one more position, with cached keys and values.

        The position is a tensor and the cache always has its full length, so that one compiled
        graph serves all positions.

        Args:
            x_B1D: The input at this position.
            image: The cross-attention's keys and values of the image tokens.
            cache: Keys and values of shape `(B, heads, L, D / heads)`. Those of this position are
                written to it.
            at_1: The position.
            past_1L: Mask of the positions to attend to, which are those up to this one.
        """
        h = self.norm1(x_B1D)
        for cached, new in zip(cache, self.self_attention.keys_values(h), strict=True):
            cached.index_copy_(2, at_1, new)
        return self.rest(x_B1D + self.self_attention(h, cache, past_1L), image)

    def rest(self, x_BLD: Tensor, image: tuple[Tensor, Tensor]) -> Tensor:
        """Apply what follows the self-attention: cross-attention and feed-forward."""
        x_BLD = x_BLD + self.cross_attention(self.norm2(x_BLD), image)
        return x_BLD + self.feed_forward(self.norm3(x_BLD))


class ImageEncoder(nn.Module):
    """Projection of the image encoder's tokens to the model's width, followed by self-attention.

    Args:
        tokens: Image tokens (N).
        channels: Channels of the image encoder (C).
        width: Width of the model (D).
        heads: Attention heads.
        layers: Layers of self-attention.
        dropout: Dropout rate of the layers.
        feature_dropout: Dropout rate of the projected tokens; None for `dropout`.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        width: int,
        heads: int,
        layers: int,
        dropout: float = 0.0,
        feature_dropout: float | None = None,
    ):
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.dropout = Dropout(dropout if feature_dropout is None else feature_dropout)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features_BNC: Tensor) -> Tensor:
        """Return the encoded image tokens `(B, N, D)`."""
        x = self.dropout(self.project(features_BNC) + self.position)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def take_rows(keys_values: tuple[Tensor, Tensor], rows_B: Tensor) -> tuple[Tensor, Tensor]:
    """Select the keys and values of some images, which may repeat."""
    return keys_values[0][rows_B], keys_values[1][rows_B]


def repeat_rows(keys_values: tuple[Tensor, Tensor], times: int) -> tuple[Tensor, Tensor]:
    """Repeat each image's keys and values for its references or samples, which are adjacent."""
    keys, values = keys_values
    return keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)


class TimeEmbedding(nn.Sequential):
    """Embedding `(B, width)` of diffusion time: a sinusoidal embedding followed by a small MLP."""

    def __init__(self, width: int):
        super().__init__(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.width = width

    def forward(self, t_B: Tensor) -> Tensor:
        """Embed times in [0, 1]."""
        return super().forward(time_embedding(t_B, self.width))


def time_embedding(t_B: Tensor, width: int) -> Tensor:
    """Return the sinusoidal embedding `(..., width)` of continuous times `(...)` in [0, 1].

    It is that of Vaswani et al. 2017, with t scaled to 1000.
    """
    frequencies = torch.exp(
        -math.log(10_000) * torch.arange(width // 2, device=t_B.device) / (width // 2)
    )
    angles = 1000 * t_B[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
