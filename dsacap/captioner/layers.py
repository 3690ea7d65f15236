"""Transformer parts that the systems share, so that none is slow or strong by an implementation of its own."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner.batch_parts import Dropout


class Attention(nn.Module):
    """Multi-head attention. Keys and values are computed apart, so that they can be cached. `dropout` is of what it adds."""

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
        """Keys and values [B, heads, N, D/heads] of the sequence attended to."""
        keys, values = self.key_value(x_BND).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(
        self,
        x_BLD: Tensor,
        keys_values: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """`mask` is broadcast to [B, heads, L, N]; True where attention is allowed."""
        attended = F.scaled_dot_product_attention(
            self._split(self.query(x_BLD)), *keys_values, attn_mask=mask, is_causal=causal
        )
        return self.dropout(self.out(attended.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """`expansion` is the hidden layer's width as a multiple of `width`."""

    def __init__(self, width: int, dropout: float = 0.0, expansion: int = 4):
        hidden = expansion * width
        super().__init__(
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden, width),
            Dropout(dropout),
        )


class Block(nn.Module):
    """A layer of a transformer, whatever it attends to."""


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
        h = self.norm1(x_BND)
        x_BND = x_BND + self.attention(h, self.attention.keys_values(h))
        return x_BND + self.feed_forward(self.norm2(x_BND))


class DecoderBlock(Block):
    """Pre-norm self-attention over the caption, cross-attention to the image, feed-forward."""

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
        """`image` are the cross-attention's keys and values of the image tokens."""
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
        """One position more: writes its keys and values to `cache` [B, heads, L, D/heads] and attends to the `past` up to it. The position
        is a tensor and the cache is always whole, so that one graph serves all positions."""
        h = self.norm1(x_B1D)
        for cached, new in zip(cache, self.self_attention.keys_values(h), strict=True):
            cached.index_copy_(2, at_1, new)
        return self.rest(x_B1D + self.self_attention(h, cache, past_1L), image)

    def rest(self, x_BLD: Tensor, image: tuple[Tensor, Tensor]) -> Tensor:
        x_BLD = x_BLD + self.cross_attention(self.norm2(x_BLD), image)
        return x_BLD + self.feed_forward(self.norm3(x_BLD))


class ImageEncoder(nn.Module):
    """Projects the frozen encoder's tokens [B, N, C] to the model's width and lets them attend to each other."""

    def __init__(
        self, tokens: int, channels: int, width: int, heads: int, layers: int, dropout: float = 0.0
    ):
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features_BNC: Tensor) -> Tensor:
        x = self.dropout(self.project(features_BNC) + self.position)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def take_rows(keys_values: tuple[Tensor, Tensor], rows_B: Tensor) -> tuple[Tensor, Tensor]:
    """The keys and values of some images, perhaps repeated."""
    return keys_values[0][rows_B], keys_values[1][rows_B]


def repeat_rows(keys_values: tuple[Tensor, Tensor], times: int) -> tuple[Tensor, Tensor]:
    """Each image's keys and values, `times` times in a row (for its references or samples)."""
    keys, values = keys_values
    return keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)


class TimeEmbedding(nn.Sequential):
    """What a network is told of the time: the sinusoidal code through a small network, [B, width]."""

    def __init__(self, width: int):
        super().__init__(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.width = width

    def forward(self, t_B: Tensor) -> Tensor:
        return super().forward(time_embedding(t_B, self.width))


def time_embedding(t_B: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding [B, width] of continuous time in [0, 1] (Vaswani et al. 2017, with t scaled to 1000)."""
    frequencies = torch.exp(
        -math.log(10_000) * torch.arange(width // 2, device=t_B.device) / (width // 2)
    )
    angles = 1000 * t_B[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
