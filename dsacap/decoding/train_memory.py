"""Look-ups in the train split: its captions, and its images most similar to a given one.

`TrainMemory` looks up images of the data set by id; `PhotoMemory` serves photos outside any data
set, whose encoded vectors it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dsacap.captioner.memory import Memory
from dsacap.common.errors import UserError
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dsacap.vision.features.store import FeatureStore

Images = tuple[Tensor, Tensor]
"""Unit vectors `(images, width)` of the train images, and the first caption of each
`(images, words + 1)`, encoded as in a batch."""


class TrainMemory(Memory):
    """Look-ups for images of the data set, by id.

    Args:
        read: Returns the train split. It is called at the first look-up, which most systems never
            make.
        store: The features of all images.
        vocabulary: The vocabulary by which captions are encoded.
        max_words: How many words of a caption are kept.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[Example]],
        store: FeatureStore,
        vocabulary: Vocabulary,
        max_words: int,
    ):
        self._read, self.store, self.vocabulary, self.max_words = read, store, vocabulary, max_words

    @cached_property
    def examples(self) -> Sequence[Example]:
        """The train split."""
        return self._read()

    def captions(self) -> Iterator[list[int]]:
        """Yield all captions of the train split that contain a word, as ids."""
        for example in self.examples:
            yield from (
                self.vocabulary.encode(caption, self.max_words)
                for caption in example.tokens
                if caption
            )

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """Return captions of the most similar train images, by cosine of the pooled vectors.

        Args:
            image_ids: Images of the data set. A train image never finds itself.
            count: How many train images to find for each.

        Returns:
            The first caption of each image found, as ids `(batch, count, words + 1)`.
        """
        pooled_IE, firsts_IL = self.images()
        similar_BI = self.store.read_pooled(image_ids) @ pooled_IE.T
        similar_BI[torch.tensor(image_ids)[:, None] == self._ids_I] = -torch.inf
        return firsts_IL[similar_BI.topk(count).indices]

    def images(self) -> Images:
        """Return the vectors of the train images, and their first captions."""
        return self._pooled_IE, self._firsts_IL

    @cached_property
    def _ids_I(self) -> Tensor:
        return torch.tensor([example.image_id for example in self.examples])

    @cached_property
    def _pooled_IE(self) -> Tensor:
        return self.store.read_pooled(self._ids_I.tolist())

    @cached_property
    def _firsts_IL(self) -> Tensor:
        firsts = (
            next(caption for caption in example.tokens if caption) for example in self.examples
        )
        return torch.tensor([self.vocabulary.encode(caption, self.max_words) for caption in firsts])


class PhotoMemory(Memory):
    """Look-ups for photos that have no features in a store.

    The vectors of the photos are set by `look_at` before each look-up.

    Args:
        captions: Yields the captions of the train split, as ids.
        images: Returns the vectors of the train images, and their first captions. Both are called
            only when needed, and may raise UserError where the train split is not available.
    """

    def __init__(
        self, captions: Callable[[], Iterator[Sequence[int]]], images: Callable[[], Images]
    ):
        self._captions, self._images = captions, images
        self._pooled_of: dict[int, Tensor] = {}

    def captions(self) -> Iterator[Sequence[int]]:
        """Return all captions of the train split, as ids."""
        return self._captions()

    def look_at(self, image_ids: Sequence[int], pooled_BE: Tensor) -> None:
        """Set the photos that are captioned next.

        Args:
            image_ids: The ids of the photos in the next batch.
            pooled_BE: Their unit vectors `(batch, width)`.
        """
        self._pooled_of = dict(zip(image_ids, pooled_BE, strict=True))

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """Return captions of the most similar train images, as `TrainMemory.nearest` does.

        Raises:
            UserError: The vectors of the train images do not fit those of the photos, or there are
                fewer than `count`.
        """
        pooled_IE, firsts_IL = self._images()
        pooled_BE = torch.stack([self._pooled_of[image_id] for image_id in image_ids])
        if pooled_BE.shape[1] != pooled_IE.shape[1] or len(pooled_IE) < count:
            raise UserError(
                f"the {len(pooled_IE)} train images to look up are fewer than the {count} needed,"
                " or come from another encoder; export the system again"
            )
        return firsts_IL[(pooled_BE @ pooled_IE.T).topk(count).indices]
