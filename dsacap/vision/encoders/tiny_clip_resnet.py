"""The image tower of the tiny CLIP in plain torch.

It computes what open_clip's ModifiedResNet computes, to the last bit, and names its weights alike.
Importing open_clip takes longer than captioning a photo from start to end, so a system that is
tried on one photo loads its encoder through this module.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dsacap.vision.encoders.base import Encoder

_EXPANSION = 4


class ResNetEncoder(Encoder):
    """Encoder with the architecture of CLIP's modified ResNet."""

    def __init__(
        self,
        image_size: int,
        layers: Sequence[int],
        width: int,
        heads: int,
        embed_dim: int,
        mean: Sequence[float],
        std: Sequence[float],
        grid: int | None = None,
    ):
        """Build the encoder with random weights.

        Args:
            image_size: Height and width of the input in pixels, as in open_clip's configuration.
            layers: Blocks per stage, as in open_clip's configuration.
            width: Channels after the stem, as in open_clip's configuration.
            heads: Heads of the attention pool, which open_clip derives from its `head_width`.
            embed_dim: Width of the pooled vector, as in open_clip's configuration.
            mean: Mean of the pixels, per channel.
            std: Standard deviation of the pixels, per channel.
            grid: Average tokens to grid x grid where the last map is larger.
        """
        super().__init__(lambda photo: _squashed(photo, image_size, mean, std), image_size, grid)
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        channels = width
        for number, blocks in enumerate(layers):
            planes, stride = width << number, 2 if number else 1
            out = planes * _EXPANSION
            rest = [_Bottleneck(out, planes, 1) for _ in range(1, blocks)]
            self.add_module(
                f"layer{number + 1}", nn.Sequential(_Bottleneck(channels, planes, stride), *rest)
            )
            channels = out
        self.stages = len(layers)
        self.attnpool = _AttentionPool(image_size // 32, channels, heads, embed_dim)
        self.eval().requires_grad_(False)

    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        x = F.relu(self.bn1(self.conv1(pixels_B3HW)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        for number in range(self.stages):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x, None, self.attnpool(x)


class _Bottleneck(nn.Module):
    """Residual bottleneck block; a stride is an average pool before the next convolution."""

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        out = planes * _EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        shortcut = {
            "-1": nn.AvgPool2d(stride),
            "0": nn.Conv2d(channels, out, 1, bias=False),
            "1": nn.BatchNorm2d(out),
        }
        self.downsample = (
            nn.Sequential(OrderedDict(shortcut)) if stride > 1 or channels != out else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(self.pool(h))) + self.downsample(x))


class _AttentionPool(nn.Module):
    """Attention pool: the mean of all positions is the only query, and attends to itself too."""

    def __init__(self, side: int, channels: int, heads: int, out: int):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(side**2 + 1, channels))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = x_BCHW.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        pooled, _ = F.multi_head_attention_forward(
            query=x,
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=self.heads,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            training=False,
            need_weights=False,
            use_separate_proj_weight=True,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
        )
        return pooled[0]


def _squashed(photo: Image.Image, side: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Squash an RGB photo to a square of normalised pixels (3, side, side)."""
    pixels = (
        torch.from_numpy(np.array(photo.resize((side, side), Image.Resampling.BICUBIC)))
        .permute(2, 0, 1)
        .float()
        .div(255)
    )
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
