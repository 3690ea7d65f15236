"""The only decoding loop: it captions any images by any captioner, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from dsacap.captioner.interface import Batch, Captioner
from dsacap.common.progress import progress
from dsacap.decoding.caption_batch import caption_batch
from dsacap.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dsacap.vision.features.pixels import PixelFeatures
    from dsacap.vision.features.store import FeatureStore


def caption_images(
    captioner: Captioner,
    store: FeatureStore | PixelFeatures,
    vocabulary: Vocabulary,
    image_ids: Sequence[int],
    decoding,
    *,
    samples: int,
    seed: int,
    batch_size: int,
    description: str | None = None,
    prefix_of: Mapping[int, Sequence[int]] | None = None,
) -> dict[int, list[str]]:
    """Caption images, with the captioner in evaluation mode.

    Args:
        captioner: A captioner, on the device to compute on.
        store: The features of the images.
        vocabulary: The vocabulary of the captioner.
        image_ids: The images to caption.
        decoding: The captioner's decoding options, or a `ChosenDecoding`.
        samples: How many captions to draw for each image; a decoding without randomness gives one.
        seed: The seed of the random draws.
        batch_size: How many images are decoded together.
        description: The text of the progress bar; None for no bar.
        prefix_of: Word ids with which the captions of each image begin, equally many for every
            image.

    Returns:
        The captions of each image id, as words joined by spaces.
    """
    samples = samples if decoding.random else 1
    device = next(captioner.parameters()).device
    training = captioner.training
    captioner.eval()
    starts = range(0, len(image_ids), batch_size)
    captions: dict[int, list[str]] = {}
    for start in progress(starts, description, "batch") if description else starts:
        ids = tuple(image_ids[start : start + batch_size])
        prefix = (
            None if prefix_of is None else torch.tensor([prefix_of[i] for i in ids], device=device)
        )
        batch = Batch(ids, store.read(ids, device=device), prefix=prefix)
        for image_id, decoded in zip(
            ids, caption_batch(captioner, batch, samples, seed, decoding), strict=True
        ):
            captions[image_id] = [vocabulary.decode(words) for words in decoded]
    captioner.train(training)
    return captions
