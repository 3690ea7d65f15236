"""Judges, which measure how well captions fit an image by its features."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import torch

from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import Generator, originals

Captions = Sequence[Sequence[str]]  # the captions of each image

NEIGHBOURS = 15  # of an image, which a caption has to tell it from
# Of the choice among them: of .02, .05, .1 and .2 the one by which right captions are likeliest, on
# 300 validation images of scenes.
_TEMPERATURE = 0.1


class Judge(ABC):
    """Base class of judges, which compute a score of each caption with its image."""

    def score(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        """Score captions; equal captions of an image are computed once.

        Args:
            image_ids: The images.
            captions_BS: As many tokenised captions of each image.

        Returns:
            Scores (images, captions), of the range that the judge has.
        """
        pairs_BS = [
            [(i, caption) for caption in of_image]
            for i, of_image in zip(image_ids, captions_BS, strict=True)
        ]
        distinct = sorted(set(chain.from_iterable(pairs_BS)))
        scores = self._scores([i for i, _ in distinct], [caption for _, caption in distinct])
        score_of = dict(zip(distinct, scores.tolist(), strict=True))
        return np.array([[score_of[pair] for pair in of_image] for of_image in pairs_BS])

    @abstractmethod
    def _scores(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        """Return the score (pairs) of each caption with its image, on any device."""


class Reconstruction(Judge):
    """DSACap's reward: the cosine of the features generated from a caption with the original's.

    Originals are not encoded again, since the store holds their features.
    """

    def __init__(self, generator: Generator, store: FeatureStore):
        self.generator, self.store = generator, store
        self._last: tuple[Sequence[int], Sequence[str], torch.Tensor] | None = None

    def pictures(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        """Generate a picture from each caption; those made last are kept, for another judge.

        Args:
            image_ids: The image of each caption.
            captions: Tokenised captions.

        Returns:
            Unit vectors (captions, width) of the pictures, as `Generator.embed` gives them.
        """
        if not self._last or (image_ids, captions) != self._last[:2]:
            made_PE = self.generator.embed(captions, image_ids)
            self._last = (image_ids, captions, made_PE)
        return self._last[2]

    def _scores(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        ids = sorted(set(image_ids))
        original_of = dict(zip(ids, originals(self.store, ids, self.generator.grid), strict=True))
        original_PE = torch.stack([original_of[i] for i in image_ids])
        made_PE = self.pictures(image_ids, captions)
        return (made_PE * original_PE.to(made_PE.device, non_blocking=True)).sum(-1)


class Contrast(Judge):
    """How surely the picture generated from a caption is of its image, and of none that is similar.

    With g generated from the caption, the image x_0, and x_1 ... x_n its nearest neighbours by the
    encoder's pooled vector, the score is

        p = exp(cos(g, x_0) / tau) / sum_j exp(cos(g, x_j) / tau),

    from 0 to 1: 1 / (n + 1) for a caption that fits all of them as well. A cosine with the image
    alone is highest for what is typical of its kind. Telling an image from others as an objective
    is that of Luo et al. 2018 (arXiv 1803.04376); the nearest ones are the hard cases.
    """

    def __init__(self, reconstruction: Reconstruction, image_ids: Sequence[int]):
        """Set up the judge.

        Args:
            reconstruction: Generates the pictures, and has the features of the originals.
            image_ids: The images that are judged, among which the neighbours are: 15 of each, or
                all others if there are fewer.
        """
        self.reconstruction, self.image_ids = reconstruction, image_ids
        self._place_of = {image_id: at for at, image_id in enumerate(image_ids)}

    def neighbours(self, image_id: int) -> list[int]:
        """Return the images that are nearest to an image, the nearest first."""
        place = self._place_of[image_id]
        similar_I = self._pooled_IE @ self._pooled_IE[place]
        similar_I[place] = -torch.inf
        nearest = similar_I.topk(min(NEIGHBOURS, len(similar_I) - 1)).indices.tolist()
        return [self.image_ids[at] for at in nearest]

    @cached_property
    def _pooled_IE(self) -> torch.Tensor:
        return self.reconstruction.store.read_pooled(self.image_ids)

    def _scores(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        store, grid = self.reconstruction.store, self.reconstruction.generator.grid
        # The images that each picture is compared with differ, and few vectors are no work.
        made_PE = self.reconstruction.pictures(image_ids, captions).cpu()
        scores_P = torch.empty(len(image_ids))
        of_pair_P = torch.tensor(image_ids)
        for image_id in dict.fromkeys(image_ids):
            candidates_KE = originals(store, [image_id, *self.neighbours(image_id)], grid)
            mine_P = of_pair_P == image_id
            cosine_SK = made_PE[mine_P] @ candidates_KE.T
            scores_P[mine_P] = (cosine_SK / _TEMPERATURE).softmax(-1)[:, 0]
        return scores_P


class ClipAlignment(Judge):
    """CLIPScore without its factor of 2.5 (Hessel et al. 2021, equation 1).

    This is the cosine of caption and photo in an image-text space, and at least 0.
    """

    def __init__(self, encode_texts: Callable[[Sequence[str]], torch.Tensor], store: FeatureStore):
        self.encode_texts, self.store = encode_texts, store

    def _scores(self, image_ids: Sequence[int], captions: Sequence[str]) -> torch.Tensor:
        return (
            (self.encode_texts(captions) * self.store.read_pooled(image_ids)).sum(-1).clamp_min(0)
        )
