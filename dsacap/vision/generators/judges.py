"""This module holds the judges, which look at a picture and measure how well captions fit it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch

from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import Generator, originals

Captions = Sequence[Sequence[str]]  # of each image, its captions


class Judge(ABC):
    """What looks at the picture: a cosine of each caption with it."""

    def score(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        """[B, S], from -1 to 1. What is said twice of an image is looked at once."""
        pairs_BS = [
            [(i, caption) for caption in of_image]
            for i, of_image in zip(image_ids, captions_BS, strict=True)
        ]
        said = sorted(set(chain.from_iterable(pairs_BS)))
        cosine_of = dict(
            zip(
                said,
                self._cosines([i for i, _ in said], [caption for _, caption in said]).tolist(),
                strict=True,
            )
        )
        return np.array([[cosine_of[pair] for pair in of_image] for of_image in pairs_BS])

    @abstractmethod
    def _cosines(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        """[U], of pairs."""


class Reconstruction(Judge):
    """DSACap's reward: the cosine of what a generator makes of a caption with what the encoder sees in the original.

    Originals are not encoded again: the store has them.
    """

    def __init__(self, generator: Generator, store: FeatureStore):
        self.generator, self.store = generator, store

    def _cosines(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        ids = sorted(set(image_ids))
        original_of = dict(zip(ids, originals(self.store, ids, self.generator.grid), strict=True))
        return (
            self.generator.embed(captions, image_ids).cpu()
            * torch.stack([original_of[i] for i in image_ids])
        ).sum(-1)


class ClipAlignment(Judge):
    """CLIPScore without its factor (Hessel et al. 2021, eq. 1): the cosine of caption and photo, at least 0, in an image-text space."""

    def __init__(self, encode_texts: Callable[[Sequence[str]], torch.Tensor], store: FeatureStore):
        self.encode_texts, self.store = encode_texts, store

    def _cosines(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        return (
            (self.encode_texts(captions) * self.store.read_pooled(image_ids)).sum(-1).clamp_min(0)
        )
