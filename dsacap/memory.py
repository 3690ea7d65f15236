"""The train split as captioners look it up: its captions, and which of its photos look most like another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dsacap.captioner import Memory
from dsacap.data.dataset import Example, Vocabulary

if TYPE_CHECKING:
    from dsacap.vision.features import FeatureStore


class TrainMemory(Memory):
    def __init__(self, read: Callable[[], Sequence[Example]], store: FeatureStore, vocabulary: Vocabulary, max_words: int):
        """`read` gives the train split; it is called when something is looked up for the first time, as most systems never do."""
        self._read, self.store, self.vocabulary, self.max_words = read, store, vocabulary, max_words

    @cached_property
    def examples(self) -> Sequence[Example]:
        return self._read()

    def captions(self) -> Iterator[list[int]]:
        for example in self.examples:
            yield from (self.vocabulary.encode(caption, self.max_words) for caption in example.tokens if caption)

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """By the cosine of the encoder's pooled vectors; the first caption of each image found."""
        similar_BI = self.store.read_pooled(image_ids) @ self._pooled_IE.T
        similar_BI[torch.tensor(image_ids)[:, None] == self._ids_I] = -torch.inf
        found_BK = similar_BI.topk(count).indices
        return torch.tensor([[self._first_caption(i) for i in row] for row in found_BK.tolist()])

    def _first_caption(self, at: int) -> list[int]:
        return self.vocabulary.encode(next(caption for caption in self.examples[at].tokens if caption), self.max_words)

    @cached_property
    def _ids_I(self) -> Tensor:
        return torch.tensor([example.image_id for example in self.examples])

    @cached_property
    def _pooled_IE(self) -> Tensor:
        return self.store.read_pooled(self._ids_I.tolist())
