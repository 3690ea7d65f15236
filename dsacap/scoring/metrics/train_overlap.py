"""Test captions that stand word for word in the training captions: for references a leak of the split, for systems learning by heart."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Leaks:
    """How many of `captions` stand in train. Short ones ("a cat on a bed") do by chance: compare systems with the references."""

    verbatim: int
    captions: int
    examples: tuple[tuple[int, str], ...]  # the first few, as (image id, caption)

    @property
    def share(self) -> float:
        return self.verbatim / max(1, self.captions)


def count_leaks(
    captions: Mapping[int, Sequence[str]], train_captions: Container[str], examples: int = 3
) -> Leaks:
    """Counts every caption of every image; all are tokenised, so that case and punctuation hide nothing. Empty ones are no leak.

    A list of captions an image, also where there is one: a bare string would be read letter by letter.
    """
    total = sum(map(len, captions.values()))
    found = list(_verbatim(captions, train_captions))
    return Leaks(len(found), total, tuple(found[:examples]))


def _verbatim(
    captions: Mapping[int, Sequence[str]], train_captions: Container[str]
) -> Iterator[tuple[int, str]]:
    for image_id, said in captions.items():
        yield from (
            (image_id, caption) for caption in said if caption and caption in train_captions
        )
