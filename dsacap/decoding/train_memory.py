"""The train split as captioners look it up: its captions, and which of its photos look most like another.

`TrainMemory` knows the images of the data set by id; `PhotoMemory` is told what the encoder makes of photos that are in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dsacap.captioner.interface import Memory
from dsacap.common.errors import UserError
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dsacap.vision.features.store import FeatureStore

Images = tuple[
    Tensor, Tensor
]  # unit vectors of the train images [I, E], and the first caption of each [I, L + 1], as in a batch


class TrainMemory(Memory):
    def __init__(
        self,
        read: Callable[[], Sequence[Example]],
        store: FeatureStore,
        vocabulary: Vocabulary,
        max_words: int,
    ):
        """`read` gives the train split; it is called when something is looked up for the first time, as most systems never do."""
        self._read, self.store, self.vocabulary, self.max_words = read, store, vocabulary, max_words

    @cached_property
    def examples(self) -> Sequence[Example]:
        return self._read()

    def captions(self) -> Iterator[list[int]]:
        for example in self.examples:
            yield from (
                self.vocabulary.encode(caption, self.max_words)
                for caption in example.tokens
                if caption
            )

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """By the cosine of the encoder's pooled vectors; the first caption of each image found."""
        pooled_IE, firsts_IL = self.images()
        similar_BI = self.store.read_pooled(image_ids) @ pooled_IE.T
        similar_BI[torch.tensor(image_ids)[:, None] == self._ids_I] = -torch.inf
        return firsts_IL[similar_BI.topk(count).indices]

    def images(self) -> Images:
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
    """The same look-ups for photos that have no features in a store: what the encoder makes of them is told beforehand, by `look_at`."""

    def __init__(
        self, captions: Callable[[], Iterator[Sequence[int]]], images: Callable[[], Images]
    ):
        """Both are called when they are first needed, and may raise UserError where there is nothing to look up."""
        self._captions, self._images, self._pooled_of = captions, images, {}

    def captions(self) -> Iterator[Sequence[int]]:
        return self._captions()

    def look_at(self, image_ids: Sequence[int], pooled_BE: Tensor) -> None:
        """The unit vectors [B, E] of the photos that are captioned next, by the ids that they go by."""
        self._pooled_of = dict(zip(image_ids, pooled_BE, strict=True))

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        pooled_IE, firsts_IL = self._images()
        pooled_BE = torch.stack([self._pooled_of[image_id] for image_id in image_ids])
        if pooled_BE.shape[1] != pooled_IE.shape[1] or len(pooled_IE) < count:
            raise UserError(
                "what is looked up are train images as another encoder sees them, or fewer than are asked for"
            )
        return firsts_IL[(pooled_BE @ pooled_IE.T).topk(count).indices]
