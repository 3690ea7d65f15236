"""The photos of the test split, and trained systems on them."""

from functools import cached_property

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch
from dsacap.common.machine import device_of
from dsacap.config.experiment import Config
from dsacap.data.photos import PhotoSource
from dsacap.data.photos import decode as decode_photo
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import ENCODER, Layout
from dsacap.runs.models import load_configured_encoder, photo_sources
from dsacap.timing.workload import Subject
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

_READ_AHEAD = 64  # photos that are kept as pixels


class Photos:
    """Photos of the test split with the features that a system gets.

    Every call takes the next images, so that captions have their natural lengths.

    Attributes:
        inputs: The data of the run.
        device: The configured device.
        store: Features of the photos, or pixels for a system that trains its encoder.
        images: The images of the test split that have features.
    """

    def __init__(self, layout: Layout, system: str):
        """Open the test split of a run, for a system or for ENCODER."""
        self.inputs, self.device = Inputs(layout), device_of(layout.config.device)
        self.store: FeatureStore | PixelFeatures = (
            self.inputs.store
            if system == ENCODER
            else self.inputs.seen_by(system, layout.config.seeds[0])
        )
        self.images = [example.image for example in self.inputs.examples("test")]
        self._layout, self._next = layout, 0
        self._pixels: dict[int, Tensor] = {}

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, which is loaded on first use, since decoding alone needs none."""
        return (
            self.store.encoder
            if isinstance(self.store, PixelFeatures)
            else load_configured_encoder(self._layout).to(self.device)
        )

    @cached_property
    def sources(self) -> dict[str, PhotoSource]:
        """Where the photos are read from, by the name of the source."""
        return photo_sources(self._layout, self.images)

    def batch(self, count: int) -> Batch:
        """Return the features of the next images."""
        ids = tuple(self.images[index].image_id for index in self.next_indices(count))
        return Batch(ids, self.store.read(ids, device=self.device))

    def pixels(self, count: int) -> tuple[tuple[int, ...], Tensor]:
        """Return the next of the first few images, which are read once and kept in memory.

        Args:
            count: The number of images.

        Returns:
            Image ids, and preprocessed pixels (images, 3, height, width).
        """
        indices = [index % _READ_AHEAD for index in self.next_indices(count)]
        for index in indices:
            if index not in self._pixels:
                self._pixels[index] = self.read(index)
        pixels = torch.stack([self._pixels[index] for index in indices]).to(self.device)
        return tuple(self.images[index].image_id for index in indices), pixels

    def read(self, index: int) -> Tensor:
        """Read an image of the split as preprocessed pixels (3, height, width)."""
        image = self.images[index]
        return self.encoder.preprocess(
            decode_photo(self.sources[image.source].read(image.file_name), image.file_name)
        )

    def encoded(self, image_ids: tuple[int, ...], pixels_B3HW: Tensor) -> Batch:
        """Encode pixels (batch, 3, height, width), and standardise the features."""
        return Batch(
            image_ids, self.store.standardised(self.encoder(pixels_B3HW)[0].cpu()).to(self.device)
        )

    def next_indices(self, count: int) -> list[int]:
        """Return the indices of the next images in the split, which starts again at its end."""
        self._next += count
        return [index % len(self.images) for index in range(self._next - count, self._next)]


def trained(config: Config, system: str) -> Subject:
    """Load a trained system.

    Args:
        config: The configuration.
        system: The name of a system, of which the first seed is loaded; or ENCODER for the encoder
            that all systems share.

    Raises:
        UserError: The system has not been trained.
    """
    photos = Photos(Layout(config), system)
    if system == ENCODER:
        return Subject(None, {}, photos.batch, photos.device, photos)
    captioner = photos.inputs.captioner(system, config.seeds[0])
    return Subject(captioner, photos.inputs.decodings(system), photos.batch, photos.device, photos)
