"""What is timed: a system with its decodings, on the photos of the test split, or with random weights on random features.

Stages of the work, each from data in memory unless said: `encode` (pixels to features), `decode` (features to word ids), `end_to_end`
(pixels to word ids) and `wall` (files of photos to captions as text, reading included).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner, ImageSpec, Memory
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.machine import device_of
from dsacap.config.experiment import Config
from dsacap.data.photos import PhotoSource
from dsacap.data.photos import decode as decode_photo
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import ENCODER, Layout
from dsacap.runs.models import load_configured_encoder, photo_sources
from dsacap.text.vocabulary import UNK
from dsacap.vision.features.pixels import PixelFeatures

_READ_AHEAD = 64  # photos kept as pixels
_LARGEST = 4096


class Photos:
    """The test split, as `system` sees it: every call takes the next images, so that captions have their natural lengths."""

    def __init__(self, layout: Layout, system: str):
        self.inputs, self.device = Inputs(layout), device_of(layout.config.device)
        self.store = (
            self.inputs.store
            if system == ENCODER
            else self.inputs.seen_by(system, layout.config.seeds[0])
        )
        self.images = [example.image for example in self.inputs.examples("test")]
        self._layout, self._at, self._pixels = layout, 0, {}

    @cached_property
    def encoder(self) -> torch.nn.Module:
        """Loaded when it is asked for: decoding alone needs none."""
        return (
            self.store.encoder
            if isinstance(self.store, PixelFeatures)
            else load_configured_encoder(self._layout).to(self.device)
        )

    @cached_property
    def sources(self) -> dict[str, PhotoSource]:
        return photo_sources(self._layout, self.images)

    def batch(self, count: int) -> Batch:
        ids = tuple(self.images[at].image_id for at in self.next(count))
        return Batch(ids, self.store.read(ids, device=self.device))

    def pixels(self, count: int) -> tuple[tuple[int, ...], Tensor]:
        """Ids and preprocessed pixels of the next images among the first few, which are read once."""
        places = [at % _READ_AHEAD for at in self.next(count)]
        for at in places:
            if at not in self._pixels:
                self._pixels[at] = self.read(at)
        return tuple(self.images[at].image_id for at in places), torch.stack(
            [self._pixels[at] for at in places]
        ).to(self.device)

    def read(self, at: int) -> Tensor:
        image = self.images[at]
        return self.encoder.preprocess(
            decode_photo(self.sources[image.source].read(image.file_name), image.file_name)
        )

    def encoded(self, image_ids: tuple[int, ...], pixels_B3HW: Tensor) -> Batch:
        return Batch(
            image_ids, self.store.standardised(self.encoder(pixels_B3HW)[0].cpu()).to(self.device)
        )

    def next(self, count: int) -> list[int]:
        """Places in the split."""
        self._at += count
        return [at % len(self.images) for at in range(self._at - count, self._at)]


@dataclass
class Subject:
    """`batch(n)` gives features of n images. `photos` are there where the system was trained. `precision` is fp32 or bf16."""

    captioner: Captioner | None
    decodings: dict
    batch: Callable[[int], Batch]
    device: torch.device
    photos: Photos | None = None
    precision: str = "fp32"

    def __post_init__(self):
        if self.captioner:
            self.captioner.eval().requires_grad_(
                False
            )  # torch's counter of operations fails on parameters that are trained

    def run_of(self, stage: str, decoding: str, images: int) -> Callable[[], object]:
        """A call that does a stage's work on the next `images`; what it needs in memory is there before it is called."""
        if stage == "encode":
            return partial(self.photos.encoder, self.photos.pixels(images)[1])
        if stage == "decode":
            return partial(self._caption, self.batch(images), decoding)
        if stage == "end_to_end":
            ids, pixels = self.photos.pixels(images)
            return lambda: self._caption(self.photos.encoded(ids, pixels), decoding)
        return partial(self._from_files, self.photos.next(images), decoding)

    def compile(self) -> None:
        """Decodes by torch.compile from now on: on a GPU as CUDA graphs, whose launch costs what one kernel's does."""
        mode = "reduce-overhead" if self.device.type == "cuda" else None
        self.captioner.speed_up(partial(torch.compile, mode=mode, dynamic=False))

    def largest_batch(self, decoding: str, start: int) -> int:
        """How many images decode at once: `start` doubled for as long as the GPU's memory lasts, and at most to 4,096."""
        images = start
        while images < _LARGEST:
            try:
                self.run_of("decode", decoding, 2 * images)()
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            images *= 2
        return images

    def _caption(self, batch: Batch, decoding: str) -> list[list[list[int]]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.captioner.caption(batch, 1, 0, self.decodings[decoding])

    def _from_files(self, places: Sequence[int], decoding: str) -> list[str]:
        pixels = torch.stack([self.photos.read(at) for at in places]).to(self.device)
        batch = self.photos.encoded(tuple(self.photos.images[at].image_id for at in places), pixels)
        return [
            self.photos.inputs.vocabulary.decode(said[0]) for said in self._caption(batch, decoding)
        ]


def trained(config: Config, system: str) -> Subject:
    """A system with its weights of the first seed; or, by the name of ENCODER, what all share."""
    photos = Photos(Layout(config), system)
    if system == ENCODER:
        return Subject(None, {}, photos.batch, photos.device, photos)
    captioner = photos.inputs.captioner(system, config.seeds[0])
    return Subject(captioner, photos.inputs.decodings(system), photos.batch, photos.device, photos)


def untrained(config: Config, system: str, spec: ImageSpec) -> Subject:
    """A system of the configured size with random weights, whose captions all have `spec.max_words` words."""
    settings, device = config.trained(system), device_of(config.device)
    torch.manual_seed(0)
    captioner = load_captioner(settings.captioner, settings.model, spec).to(device).eval()
    captioner.learn_from(RandomCaptions(spec))
    captioner.endless = True
    decoding = captioner_class(settings.captioner).Decoding
    decodings = {
        name: decoding(**options) for name, options in config.systems[system].decodings.items()
    }

    def batch(count: int) -> Batch:
        return Batch(tuple(range(count)), torch.randn(count, spec.tokens, spec.channels).to(device))

    return Subject(captioner, decodings, batch, device)


class RandomCaptions(Memory):
    """A hundred captions of random words, the same for every image."""

    def __init__(self, spec: ImageSpec):
        self._captions = torch.randint(UNK + 1, spec.vocabulary, (100, spec.max_words + 1))

    def captions(self):
        return iter(self._captions.tolist())

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        return self._captions[:count].expand(len(image_ids), -1, -1)
