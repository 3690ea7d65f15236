"""Random features, pixels, captions and encoders of the configured shapes, for measure-scale."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsacap.captioner.interface import ImageSpec
from dsacap.common.errors import UserError
from dsacap.config.encoder import Encoder as EncoderSettings
from dsacap.config.experiment import Config
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.pixels import PixelFeatures, Rows
from dsacap.vision.features.store import FeatureStore

_WORDS = (10.5, 2.4)  # mean and standard deviation of the words of a COCO caption
_IMAGES = 256  # that differ; further image ids repeat them


class RandomFeatures(FeatureStore):
    """Random features in memory, in place of those on disk."""

    def __init__(self, spec: ImageSpec):
        self._features = torch.randn(_IMAGES, spec.tokens, spec.channels)

    @property
    def views(self) -> int:
        """One view of each image."""
        return 1

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return features (batch, tokens, channels) of any image ids, pinned for a GPU."""
        rows_BNC = self._features[torch.tensor(image_ids) % len(self._features)]
        return rows_BNC.pin_memory() if torch.device(device).type == "cuda" else rows_BNC

    def features(self, rows_BNC: Tensor, device: torch.device | str) -> Tensor:
        """Send features to a device, without standardising them."""
        return rows_BNC.to(device, non_blocking=True)


class RandomPixels(PixelFeatures):
    """Random pixels in memory, for an encoder with random weights."""

    def __init__(self, config: Config):
        self.drawn = False
        encoder = random_encoder(config.encoder)
        self.encoder = encoder.for_photos_alone()
        self._pixels = torch.randint(256, (_IMAGES, 3, *self.encoder.image_size), dtype=torch.uint8)

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


def random_examples(images: int, vocabulary: Vocabulary) -> list[Example]:
    """Return images with five captions of random words each, as long as COCO's captions."""
    rng, words = np.random.default_rng(0), np.array(vocabulary.words[len(SPECIALS) :])
    examples = []
    for number in range(images):
        lengths = rng.normal(*_WORDS, 5).round().clip(5, 20).astype(int)
        captions = tuple(" ".join(rng.choice(words, length)) for length in lengths)
        image = CaptionedImage(number, f"{number}.jpg", "random", "train", captions)
        examples.append(Example(image, captions))
    return examples


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
