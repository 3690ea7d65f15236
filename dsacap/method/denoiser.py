"""The denoiser: a diffusion transformer over image tokens (DiT with adaLN-zero; Peebles & Xie 2023) that predicts z_0 from z_t."""

import torch
from torch import Tensor, nn

from dsacap.layers import Attention, FeedForward, time_embedding


class DiTBlock(nn.Module):
    """Self-attention and feed-forward whose normalisation is shifted, scaled and gated by the time; gates start at zero."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0, expansion: int = 4):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attention, self.feed_forward = Attention(width, heads, dropout), FeedForward(width, dropout, expansion)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x_BND: Tensor, time_BD: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(time_BD)[:, None].chunk(6, dim=-1)
        h = self.norm1(x_BND) * (1 + scale1) + shift1
        x_BND = x_BND + gate1 * self.attention(h, self.attention.keys_values(h))
        h = self.norm2(x_BND) * (1 + scale2) + shift2
        return x_BND + gate2 * self.feed_forward(h)


class Denoiser(nn.Module):
    def __init__(self, tokens: int, channels: int, width: int, heads: int, layers: int, dropout: float = 0.0, expansion: int = 4):
        super().__init__()
        self.width = width
        self.project = nn.Linear(channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(DiTBlock(width, heads, dropout, expansion) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, channels)

    def forward(self, z_BNC: Tensor, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction of z_0 [B, N, C], and the hidden states [B, N, D] that the readout attends to."""
        x_BND = self.dropout(self.project(z_BNC) + self.position)
        time_BD = self.time(time_embedding(t_B, self.width))
        for block in self.blocks:
            x_BND = block(x_BND, time_BD)
        x_BND = self.norm(x_BND)
        return self.out(x_BND), x_BND
