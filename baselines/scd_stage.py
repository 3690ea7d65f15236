"""One stage of SCD-Net's cascade (scd_net.py): a diffusion transformer that predicts words."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dsacap.baselines.shared import KeysValues, ModuleList
from dsacap.captioner.batch_parts import Dropout
from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.layers import DecoderBlock, EncoderBlock, TimeEmbedding, repeat_rows

if TYPE_CHECKING:
    from dsacap.baselines.scd_net import SCDNet


class Stage(nn.Module):
    """One diffusion transformer: a semantic transformer, then a decoder that attends to the image.

    The semantic transformer reads the noised words and a similar image's caption.
    """

    def __init__(self, model: "SCDNet.Model", spec: ImageSpec, bits: int):
        """Initialise a stage that reads `bits` bits a word."""
        super().__init__()
        self.read = nn.Linear(3 * bits, model.width)
        self.time = TimeEmbedding(model.width)
        self.embed = nn.Embedding(spec.vocabulary, model.width)
        self.position = nn.Parameter(torch.randn(2, spec.max_words + 1, model.width) * 0.02)
        self.dropout = Dropout(model.dropout)
        self.semantic = nn.ModuleList(
            EncoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.semantic_layers)
        )
        self.blocks = ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, spec.vocabulary)
        nn.init.normal_(self.embed.weight, std=0.02)

    def image(self, memory_BND: Tensor, times: int) -> list[KeysValues]:
        """Return each block's keys and values of the image tokens, with rows repeated `times`."""
        return [
            repeat_rows(block.cross_attention.keys_values(memory_BND), times)
            for block in self.blocks
        ]

    def forward(
        self,
        x: Tensor,
        guess: Tensor,
        read: Tensor,
        t_X: Tensor,
        image: list[KeysValues],
        similar_XL: Tensor,
    ) -> Tensor:
        """Return the logits of words [X, L, V].

        Args:
            x: The noised bits, (X, L, b).
            guess: The previous estimate of x_0, or 0, (X, L, b).
            read: The bits of the previous stage's words, or 0, (X, L, b).
            t_X: The time of each row.
            image: The keys and values of the image tokens.
            similar_XL: A caption of a similar training image, as word ids.
        """
        length, time_XD = x.shape[1], self.time(t_X)
        words_XLD = (
            self.read(torch.cat([x, guess, read], -1))
            + self.position[0, :length]
            + time_XD[:, None]
        )
        similar_XLD = self.embed(similar_XL) + self.position[1, : similar_XL.shape[1]]
        h_XLD = self.dropout(torch.cat([words_XLD, similar_XLD], dim=1))
        for block in self.semantic:
            h_XLD = block(h_XLD)
        h_XLD = h_XLD[:, :length]
        for block, keys_values in zip(self.blocks, image, strict=True):
            h_XLD = block(h_XLD, keys_values)
        return self.head(self.norm(h_XLD))
