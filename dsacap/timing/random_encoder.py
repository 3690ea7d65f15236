"""Encoders with random weights, and random pixels for them."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.config.encoder import Encoder as EncoderSettings
from dsacap.config.experiment import Config
from dsacap.timing.random_inputs import IMAGES
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.pixels import PixelFeatures, Rows


class RandomPixels(PixelFeatures):
    """Random pixels in memory, for an encoder with random weights."""

    def __init__(self, config: Config):
        self.drawn = False
        encoder = random_encoder(config.encoder)
        self.encoder = encoder.for_photos_alone()
        self._pixels = torch.randint(256, (IMAGES, 3, *self.encoder.image_size), dtype=torch.uint8)

    def to(self, device: torch.device) -> "RandomPixels":
        """Move the encoder to a device."""
        self.encoder.to(device)
        return self

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Rows:
        """Return pixels (batch, 3, height, width) of any image ids, pinned for a GPU."""
        pixels = self._pixels[torch.tensor(image_ids) % len(self._pixels)]
        return Rows(pixels.pin_memory() if torch.device(device).type == "cuda" else pixels, None)

    def features(self, rows: Rows, device: torch.device | str) -> Tensor:
        """Encode pixels on a device, without standardising the features."""
        return self.encoder.encode(rows.pixels.to(device, non_blocking=True) / 255)[0]


def random_encoder(settings: EncoderSettings) -> Encoder:
    """Build an encoder with random weights.

    Args:
        settings: The section of the configuration that describes it.

    Raises:
        UserError: The name is unknown, or cannot be built without its weights.
    """
    if settings.autoencoder:
        from dsacap.vision.encoders.latent_encoder import new_latent_encoder

        return new_latent_encoder(settings.autoencoder, settings.grid)
    if settings.features:
        raise UserError(
            "encoder.features: there is no encoder to measure; name the one that made the features"
        )
    if settings.name is None:
        import open_clip

        from dsacap.vision.encoders.clip_encoder import ClipEncoder
        from dsacap.vision.encoders.tiny_clip import MODEL

        return ClipEncoder(open_clip.CLIP(**MODEL), _no_preprocessing, settings.grid)
    from dsacap.vision.encoders.load import without_weights

    try:
        return without_weights(settings.name, settings.grid)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(
            f"encoder {settings.name}: cannot be built with random weights ({error}); name a model"
            " of open_clip or timm"
        ) from None


def _no_preprocessing(photo: Image.Image) -> Tensor:
    raise NotImplementedError("random pixels need no preprocessing")
