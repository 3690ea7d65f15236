"""The work that is timed: a trained system on the test split, or random weights on random features.

The stages of the work are `encode` (pixels to features), `decode` (features to word ids),
`end_to_end` (pixels to word ids) and `wall` (files of photos to captions as text, reading
included). All but `wall` start from data in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner, ImageSpec
from dsacap.captioner.memory import Memory
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.machine import device_of
from dsacap.config.experiment import Config
from dsacap.config.parsing import decoding_of
from dsacap.data.photos import PhotoSource
from dsacap.data.photos import decode as decode_photo
from dsacap.decoding.caption_batch import caption_batch
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import ENCODER, Layout
from dsacap.runs.models import load_configured_encoder, photo_sources
from dsacap.text.vocabulary import UNK
from dsacap.timing.decode_cost import cost_of
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

_READ_AHEAD = 64  # photos that are kept as pixels
_LARGEST = 4096  # images of a batch


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


@dataclass
class Subject:
    """A system to time.

    Attributes:
        captioner: The system; None for the encoder alone.
        decodings: Its decodings by name.
        batch: Returns the features of a number of images.
        device: Where the work is done.
        photos: The test split, for a trained system; None for random weights.
        precision: `fp32` or `bf16`.
    """

    captioner: Captioner | None
    decodings: dict[str, Any]
    batch: Callable[[int], Batch]
    device: torch.device
    photos: Photos | None = None
    precision: str = "fp32"

    def __post_init__(self):
        if self.captioner:
            # torch's counter of operations fails on parameters that require gradients.
            self.captioner.eval().requires_grad_(False)

    def prepare(self, stage: str, decoding: str, images: int) -> Callable[[], object]:
        """Load what a stage needs, and return a call that does its work on the next images.

        Args:
            stage: `encode`, `decode`, `end_to_end` or `wall`.
            decoding: The name of the decoding; ignored by `encode`.
            images: Images of the batch.

        Returns:
            The call to time.
        """
        if stage == "decode":
            return partial(self._caption, self.batch(images), decoding)
        photos = self._test_split()
        if stage == "encode":
            return partial(photos.encoder, photos.pixels(images)[1])
        if stage == "end_to_end":
            ids, pixels = photos.pixels(images)
            return lambda: self._caption(photos.encoded(ids, pixels), decoding)
        return partial(self._from_files, photos.next_indices(images), decoding)

    def cost(self, decoding: str, images: int) -> dict:
        """Return the cost of decoding a batch of `images`; see `decode_cost.cost_of`."""
        return cost_of(self._decoder(), self.prepare("decode", decoding, images), self.device)

    def compile(self) -> None:
        """Decode through torch.compile from now on.

        On a GPU this makes CUDA graphs, whose launch costs as much as that of one kernel.
        """
        mode = "reduce-overhead" if self.device.type == "cuda" else None
        self._decoder().speed_up(partial(torch.compile, mode=mode, dynamic=False))

    def largest_batch(self, decoding: str, start: int) -> int:
        """Find how many images can be decoded at once.

        Args:
            decoding: The name of the decoding.
            start: A batch size that fits.

        Returns:
            `start`, doubled as long as the GPU's memory suffices, and at most to 4,096.
        """
        images = start
        while images < _LARGEST:
            try:
                self.prepare("decode", decoding, 2 * images)()
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            images *= 2
        return images

    def _caption(self, batch: Batch, decoding: str) -> list[list[list[int]]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return caption_batch(self._decoder(), batch, 1, 0, self.decodings[decoding])

    def _from_files(self, indices: Sequence[int], decoding: str) -> list[str]:
        photos = self._test_split()
        pixels = torch.stack([photos.read(index) for index in indices]).to(self.device)
        batch = photos.encoded(tuple(photos.images[index].image_id for index in indices), pixels)
        vocabulary = photos.inputs.vocabulary
        return [vocabulary.decode(captions[0]) for captions in self._caption(batch, decoding)]

    def _decoder(self) -> Captioner:
        if self.captioner is None:
            raise ValueError("the encoder alone decodes nothing")
        return self.captioner

    def _test_split(self) -> Photos:
        if self.photos is None:
            raise ValueError("random weights are timed on random features, not on photos")
        return self.photos


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


def untrained(config: Config, system: str, spec: ImageSpec) -> Subject:
    """Build a system of the configured size with random weights.

    Args:
        config: The configuration.
        system: The name of the system.
        spec: The shapes of its input and output; all captions have `spec.max_words` words.
    """
    name, device = captioner_name(config, system), device_of(config.device)
    torch.manual_seed(0)
    captioner = load_captioner(name, config.trained(system).model, spec).to(device).eval()
    captioner.learn_from(RandomCaptions(spec))
    captioner.endless = True
    decodings = {
        label: decoding_of(captioner_class(name), options, label)
        for label, options in config.systems[system].decodings.items()
    }

    def batch(count: int) -> Batch:
        return Batch(tuple(range(count)), torch.randn(count, spec.tokens, spec.channels).to(device))

    return Subject(captioner, decodings, batch, device)


def captioner_name(config: Config, system: str) -> str:
    """Return the name of the captioner of a system, or of the system that it is tuned from."""
    name = config.trained(system).captioner
    assert name is not None  # the configuration requires it of a system that is not tuned
    return name


class RandomCaptions(Memory):
    """Train split of a hundred captions of random words, the same for every image."""

    def __init__(self, spec: ImageSpec):
        self._captions = torch.randint(UNK + 1, spec.vocabulary, (100, spec.max_words + 1))

    def captions(self) -> Iterator[Sequence[int]]:
        """Return the captions as word ids."""
        return iter(self._captions.tolist())

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """Return the same captions (images, count, length) for every image."""
        return self._captions[:count].expand(len(image_ids), -1, -1)
