"""ClipCap's mappers: from an image to the embeddings before the first word of a language model.

Published ClipCap maps CLIP's own vector. With `image: class` the mappers read the encoder's class
token, of which that vector is a linear projection, so that their first layer can learn it. With
`image: tokens` they read all tokens of the grid.
"""

import math

import torch
from torch import Tensor, nn

from dsacap.baselines.shared import ModuleList
from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.layers import EncoderBlock
from dsacap.common.errors import UserError


def check_class_token(spec: ImageSpec) -> None:
    """Raise UserError if the image tokens are a square grid without a class token before it."""
    if math.isqrt(spec.tokens - 1) ** 2 != spec.tokens - 1:
        raise UserError(
            f"model.image: class needs an encoder with a class token before its grid, but it gives"
            f" {spec.tokens} tokens; name a vision transformer as encoder, or use image: tokens"
        )


class MLPMapper(nn.Module):
    """One hidden layer with tanh, on one vector of the image.

    Args:
        spec: The sizes of the image.
        prefix: Embeddings to compute (P).
        width: Width of the language model (D).
        class_token: Whether the vector is the class token instead of the mean of all tokens.
    """

    def __init__(self, spec: ImageSpec, prefix: int, width: int, class_token: bool):
        super().__init__()
        self.shape, hidden, self.class_token = (prefix, width), prefix * width // 2, class_token
        self.layers = nn.Sequential(
            nn.Linear(spec.channels, hidden), nn.Tanh(), nn.Linear(hidden, prefix * width)
        )

    def forward(self, features_BNC: Tensor) -> Tensor:
        """Return the embeddings `(B, P, D)`."""
        vector_BC = features_BNC[:, 0] if self.class_token else features_BNC.mean(1)
        return self.layers(vector_BC).unflatten(-1, self.shape)


class TransformerMapper(nn.Module):
    """A transformer over the image and one learned constant per embedding (section 3.3).

    Args:
        spec: The sizes of the image.
        prefix: Embeddings to compute (P).
        width: Width of the language model (D).
        class_token: Whether the image is its class token, projected to P inputs as published,
            instead of all tokens.
        layers: Layers of the transformer.
        dropout: Dropout rate.
    """

    def __init__(
        self,
        spec: ImageSpec,
        prefix: int,
        width: int,
        class_token: bool,
        layers: int,
        dropout: float,
    ):
        super().__init__()
        inputs = prefix if class_token else spec.tokens
        self.shape, self.class_token = (prefix, width), class_token
        self.project = nn.Linear(spec.channels, prefix * width if class_token else width)
        self.position = nn.Parameter(torch.randn(inputs, width) * 0.02)
        self.constants = nn.Parameter(torch.randn(prefix, width) * 0.02)
        heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
        self.blocks = ModuleList(EncoderBlock(width, heads, dropout) for _ in range(layers))

    def forward(self, features_BNC: Tensor) -> Tensor:
        """Return the embeddings `(B, P, D)`."""
        if self.class_token:
            x_BND = self.project(features_BNC[:, 0]).unflatten(-1, self.shape)
        else:
            x_BND = self.project(features_BNC)
        x_BND = x_BND + self.position
        x_BND = torch.cat([x_BND, self.constants.expand(len(x_BND), -1, -1)], dim=1)
        for block in self.blocks:
            x_BND = block(x_BND)
        return x_BND[:, -len(self.constants) :]
