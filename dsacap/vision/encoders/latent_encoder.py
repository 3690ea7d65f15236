"""The latents of a small autoencoder of photos as tokens, as in latent diffusion.

The autoencoder is diffusers' AutoencoderKL (Rombach et al. 2022, section 3.1), trained on the
photos of the train split alone, without captions (dsacap/training/train_autoencoder.py). Its latent
is 8 times smaller than the photo each way. Our reading: the mean of the posterior is cut into 4 x 4
tokens, so that a token is as large a part of the photo for every size.
"""

from pathlib import Path

import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from dsacap.common.files import read_tensors
from dsacap.config.encoder import AutoencoderSizes
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.encoders.squash import squashing

WEIGHTS = "autoencoder.safetensors"  # of the encoding half

_SIDE = 4  # tokens per side
_GROUPS = 8  # of the group norms


class LatentEncoder(Encoder):
    """Encoder whose tokens are patches of a latent; their mean is the pooled vector.

    Attributes:
        net: The encoding half of the autoencoder.
    """

    def __init__(
        self, net: nn.Module, size: int, grid: int | None = None, file: Path | None = None
    ):
        super().__init__(squashing(size), size, grid, file)
        self.net = net.eval().requires_grad_(False)

    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        mean_BCHW, _ = self.net(pixels_B3HW).chunk(2, dim=1)  # the other half is the log-variance
        grid_BCHW = F.pixel_unshuffle(mean_BCHW, mean_BCHW.shape[-1] // _SIDE)
        return grid_BCHW, None, grid_BCHW.mean((2, 3))


def new_autoencoder(width: int, channels: int) -> AutoencoderKL:
    """Return an autoencoder with random weights from torch's global generator.

    Args:
        width: Channels at full resolution.
        channels: Channels of the latent.
    """
    return AutoencoderKL(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=_GROUPS,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def new_latent_encoder(
    sizes: AutoencoderSizes, grid: int | None = None, file: Path | None = None
) -> LatentEncoder:
    """Return an encoder with random weights.

    Args:
        sizes: Its sizes.
        grid: Average tokens to grid x grid where there are more.
        file: The file of its weights, once they are loaded.
    """
    net = new_autoencoder(sizes.width, sizes.channels).encoder
    return LatentEncoder(net, sizes.size, grid, file)


def load_latent_encoder(
    sizes: AutoencoderSizes, folder: Path, grid: int | None = None
) -> LatentEncoder:
    """Return the encoder that the encoder stage trained.

    Args:
        sizes: Its sizes.
        folder: What the stage wrote.
        grid: Average tokens to grid x grid where there are more.

    Raises:
        UserError: The weights do not exist yet, or cannot be read.
    """
    encoder = new_latent_encoder(sizes, grid, folder / WEIGHTS)
    encoder.net.load_state_dict(read_tensors(folder / WEIGHTS)[0])
    return encoder
