"""Which images, captions and views make up the batch of a step: a function of (seed, step)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.config.training import Training
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import Vocabulary


def drawn_examples(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Draw the images that a row is trained on, where it is not given all of them.

    Of two counts and one seed, the larger draw contains the smaller one.

    Args:
        examples: The train split.
        count: How many images.
        seed: The seed of the row.

    Returns:
        The drawn images, in the order of the split.

    Raises:
        UserError: The split has fewer images.
    """
    if count > len(examples):
        raise UserError(
            f"training.images: {count:,} are more than the {len(examples):,} images of the train"
            " split; choose a smaller number, or leave it out"
        )
    drawn = np.random.default_rng([seed, 3]).permutation(len(examples))[:count]
    return [examples[at] for at in sorted(drawn)]


def batch_indices(step: int, seed: int, images: int, batch_size: int) -> np.ndarray:
    """Return the train images of a step, as indices.

    Every epoch has a permutation of its own, which is cut into whole batches.
    """
    batch_size = min(batch_size, images)
    epoch, place = divmod(step, images // batch_size)
    return _order(seed, epoch, images)[place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    """The permutation of an epoch. It is cached: for all of COCO it takes as long as a step."""
    return np.random.default_rng([seed, epoch, 0]).permutation(images)


def batch_of_step(
    step: int,
    seed: int,
    settings: Training,
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    max_words: int,
    views: int,
) -> tuple[tuple[int, ...], Tensor, dict[int, int]]:
    """Return the batch of a step.

    Args:
        step: The number of the step.
        seed: The seed of the run.
        settings: How the system is trained: batch size, references an image.
        examples: The train split.
        vocabulary: The words.
        max_words: Captions are cut there.
        views: How many views the features have of each image.

    Returns:
        The ids of its images, their captions `(images, references, length + 1)`, and the view of
        each image.
    """
    chosen = [examples[i] for i in batch_indices(step, seed, len(examples), settings.batch_size)]
    rng = np.random.default_rng([seed, step, 2])
    captions = [
        [vocabulary.encode(c, max_words) for c in _references(e, settings.references, rng)]
        for e in chosen
    ]
    ids = tuple(e.image_id for e in chosen)
    view_of = dict(
        zip(
            ids,
            rng.integers(views, size=len(ids)).tolist() if views > 1 else [0] * len(ids),
            strict=True,
        )
    )
    captions_BRL = torch.tensor(captions)
    used = int((captions_BRL != 0).sum(-1).max())  # no work on columns that are padding everywhere
    return ids, captions_BRL[..., :used], view_of


def _references(example: Example, count: int, rng: np.random.Generator) -> list[str]:
    """`count` captions of an image: a random choice if it has more, repeated if it has fewer."""
    captions = [tokens for tokens in example.tokens if tokens]
    if len(captions) > count:
        return [captions[i] for i in rng.permutation(len(captions))[:count]]
    return [captions[i % len(captions)] for i in range(count)]
