"""Random features and captions of the configured shapes, for measurements at full size."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dsacap.captioner.interface import ImageSpec
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.vision.features.store import FeatureStore

_WORDS = (10.5, 2.4)  # mean and standard deviation of the words of a COCO caption
IMAGES = 256  # that differ; further image ids repeat them


class RandomFeatures(FeatureStore):
    """Random features in memory, in place of those on disk."""

    def __init__(self, spec: ImageSpec):
        self._features = torch.randn(IMAGES, spec.tokens, spec.channels)

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
