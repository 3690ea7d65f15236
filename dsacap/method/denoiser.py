"""The denoiser, a diffusion transformer over image tokens that predicts z_0 from z_t.

It is a DiT with adaLN-zero (Peebles & Xie 2023). With self-conditioning it also attends to the
previous estimate of the caption; in Chen et al. 2023 (arXiv 2208.04202) the estimate is of z_0.
"""

import torch
from torch import Tensor, nn

from dsacap.captioner.batch_parts import Dropout
from dsacap.captioner.layers import Attention, Block, FeedForward, time_embedding


class DiTBlock(Block):
    """Self-attention and feed-forward, shifted, scaled and gated by the diffusion time.

    With self-conditioning there is cross-attention to a caption between them. The gates and the
    output of the cross-attention are zero at initialisation.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        expansion: int = 4,
        self_conditioning: bool = False,
    ):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attention, self.feed_forward = (
            Attention(width, heads, dropout),
            FeedForward(width, dropout, expansion),
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        if self_conditioning:
            self.norm3 = nn.LayerNorm(width, elementwise_affine=False)
            self.cross_attention = Attention(width, heads, dropout)
            nn.init.zeros_(self.cross_attention.out.weight)
            nn.init.zeros_(self.cross_attention.out.bias)

    def forward(self, x_BND: Tensor, time_BXD: Tensor, caption_BGD: Tensor | None) -> Tensor:
        """Return the outputs `(B, N, D)`, given embedded times and perhaps a caption.

        Times are those of the image, `(B, 1, D)`, or of each token, `(B, N, D)`.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(time_BXD).chunk(6, dim=-1)
        h = self.norm1(x_BND) * (1 + scale1) + shift1
        x_BND = x_BND + gate1 * self.attention(h, self.attention.keys_values(h))
        if caption_BGD is not None:
            x_BND = x_BND + self.cross_attention(
                self.norm3(x_BND), self.cross_attention.keys_values(caption_BGD)
            )
        h = self.norm2(x_BND) * (1 + scale2) + shift2
        return x_BND + gate2 * self.feed_forward(h)


class Denoiser(nn.Module):
    """Diffusion transformer that predicts z_0 from z_t.

    Args:
        tokens: Image tokens (N).
        channels: Channels of the latent (C).
        width: Width of the transformer (D).
        heads: Attention heads.
        layers: Transformer layers.
        dropout: Dropout rate.
        expansion: Width of the feed-forward's hidden layer, in units of `width`.
        self_conditioning: Whether it attends to a caption.
        read_from: The layer, from 1 on, whose output is the hidden states; 0 for the last.
        feature_dropout: Dropout rate of the projected latents; None for `dropout`.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        width: int,
        heads: int,
        layers: int,
        dropout: float = 0.0,
        expansion: int = 4,
        self_conditioning: bool = False,
        read_from: int = 0,
        feature_dropout: float | None = None,
    ):
        super().__init__()
        self.width, self.read_from = width, read_from
        self.project = nn.Linear(channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.dropout = Dropout(dropout if feature_dropout is None else feature_dropout)
        self.time = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, dropout, expansion, self_conditioning) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, channels)
        self.caption_norm = nn.LayerNorm(width) if self_conditioning else None
        self.read_norm = nn.LayerNorm(width) if read_from else None

    def forward(
        self, z_BNC: Tensor, t_B: Tensor, caption_BGD: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict z_0.

        Args:
            z_BNC: Noised latents z_t.
            t_B: Times in [0, 1], one for each image `(B,)` or for each token `(B, N)`.
            caption_BGD: The previous soft caption, for self-conditioning; None stands for zeros.

        Returns:
            The prediction of z_0 `(B, N, C)`, and the hidden states `(B, N, D)` that the readout
            attends to.
        """
        x_BND = self.dropout(self.project(z_BNC) + self.position)
        time_BXD = self.time(time_embedding(t_B, self.width)).reshape(len(t_B), -1, self.width)
        context_BGD = self._caption_context(caption_BGD, x_BND)
        hidden_BND = None
        for layer, block in enumerate(self.blocks, 1):
            x_BND = block(x_BND, time_BXD, context_BGD)
            if self.read_norm is not None and layer == self.read_from:
                hidden_BND = self.read_norm(x_BND)
        x_BND = self.norm(x_BND)
        return self.out(x_BND), x_BND if hidden_BND is None else hidden_BND

    def _caption_context(self, caption_BGD: Tensor | None, x_BND: Tensor) -> Tensor | None:
        """Return what the blocks attend to: the caption, with sinusoidal positions added."""
        if self.caption_norm is None:
            return None
        if caption_BGD is None:
            return torch.zeros_like(x_BND[:, :1])
        place_G = torch.arange(caption_BGD.shape[1], device=caption_BGD.device) / 1000
        return self.caption_norm(caption_BGD) + time_embedding(place_G, self.width)
