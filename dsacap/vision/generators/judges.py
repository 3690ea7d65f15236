"""Judges, which measure how well captions fit an image by its features."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch

from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import Generator, originals

Captions = Sequence[Sequence[str]]  # the captions of each image


class Judge(ABC):
    """Base class of judges, which compute a cosine of each caption with its image."""

    def score(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        """Score captions; equal captions of an image are computed once.

        Args:
            image_ids: The images.
            captions_BS: As many tokenised captions of each image.

        Returns:
            Cosines (images, captions) from -1 to 1.
        """
        pairs_BS = [
            [(i, caption) for caption in of_image]
            for i, of_image in zip(image_ids, captions_BS, strict=True)
        ]
        distinct = sorted(set(chain.from_iterable(pairs_BS)))
        cosines = self._cosines([i for i, _ in distinct], [caption for _, caption in distinct])
        cosine_of = dict(zip(distinct, cosines.tolist(), strict=True))
        return np.array([[cosine_of[pair] for pair in of_image] for of_image in pairs_BS])

    @abstractmethod
    def _cosines(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        """Return the cosine (pairs) of each caption with its image, on any device."""


class Reconstruction(Judge):
    """DSACap's reward: the cosine of the features generated from a caption with the original's.

    Originals are not encoded again, since the store holds their features.
    """

    def __init__(self, generator: Generator, store: FeatureStore):
        self.generator, self.store = generator, store

    def _cosines(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        ids = sorted(set(image_ids))
        original_of = dict(zip(ids, originals(self.store, ids, self.generator.grid), strict=True))
        original_PE = torch.stack([original_of[i] for i in image_ids])
        made_PE = self.generator.embed(captions, image_ids)
        return (made_PE * original_PE.to(made_PE.device, non_blocking=True)).sum(-1)


class ClipAlignment(Judge):
    """CLIPScore without its factor of 2.5 (Hessel et al. 2021, equation 1).

    This is the cosine of caption and photo in an image-text space, and at least 0.
    """

    def __init__(self, encode_texts: Callable[[Sequence[str]], torch.Tensor], store: FeatureStore):
        self.encode_texts, self.store = encode_texts, store

    def _cosines(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        return (
            (self.encode_texts(captions) * self.store.read_pooled(image_ids)).sum(-1).clamp_min(0)
        )
