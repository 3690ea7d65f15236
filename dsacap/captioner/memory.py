"""The train split, as captioners and decodings may look things up in it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor


class Memory(ABC):
    """The train split, for systems that look something up in it; read on demand."""

    @abstractmethod
    def captions(self) -> Iterator[Sequence[int]]:
        """Iterate over all train captions, as word ids terminated and padded as in a batch."""

    @abstractmethod
    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        """Return captions of the train images that are most similar to given images.

        Args:
            image_ids: The images to compare with. A train image is never its own neighbour.
            count: Neighbours per image.

        Returns:
            One caption of each neighbour, of shape `(batch, count, max_words + 1)`.
        """
