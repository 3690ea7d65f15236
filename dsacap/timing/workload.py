"""The work that is timed: a system on the test split, or random weights on random features.

The stages of the work are `encode` (pixels to features), `decode` (features to word ids),
`end_to_end` (pixels to word ids) and `wall` (files of photos to captions as text, reading
included). All but `wall` start from data in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner, ImageSpec
from dsacap.captioner.memory import Memory
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.machine import device_of
from dsacap.config.experiment import Config
from dsacap.config.parsing import decoding_of
from dsacap.decoding.caption_batch import caption_batch
from dsacap.text.vocabulary import UNK
from dsacap.timing.decode_cost import cost_of

if TYPE_CHECKING:
    from dsacap.timing.photos import Photos

_LARGEST = 4096  # images of a batch


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
    photos: "Photos | None" = None
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

    def _test_split(self) -> "Photos":
        if self.photos is None:
            raise ValueError("random weights are timed on random features, not on photos")
        return self.photos


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
