"""Captions of test images that occur word for word among the training captions.

For references this shows a leak between the splits; for systems it shows memorisation.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Leaks:
    """How many captions occur among the training captions.

    Short ones ("a cat on a bed") do so by chance, so compare systems with the references.
    """

    verbatim: int  # captions that occur there
    captions: int  # all captions
    examples: tuple[tuple[int, str], ...]  # the first few, as (image id, caption)

    @property
    def share(self) -> float:
        """Share of the captions that occur among the training captions, 0..1."""
        return self.verbatim / max(1, self.captions)


def count_leaks(
    captions: Mapping[int, Sequence[str]], train_captions: Container[str], examples: int = 3
) -> Leaks:
    """Count the captions that occur word for word among the training captions.

    Args:
        captions: Tokenised captions by image id, so that case and punctuation do not matter. Each
            image has a list, even of one caption: a bare string would be read letter by letter.
            Empty captions never count as a leak.
        train_captions: The tokenised training captions.
        examples: How many examples are returned.
    """
    total = sum(map(len, captions.values()))
    found = list(_verbatim(captions, train_captions))
    return Leaks(len(found), total, tuple(found[:examples]))


def _verbatim(
    captions: Mapping[int, Sequence[str]], train_captions: Container[str]
) -> Iterator[tuple[int, str]]:
    for image_id, of_image in captions.items():
        yield from (
            (image_id, caption) for caption in of_image if caption and caption in train_captions
        )
