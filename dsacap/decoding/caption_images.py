"""The one decoding loop: any captioner, any images, a batch at a time."""

from collections.abc import Mapping, Sequence

import torch

from dsacap.captioner.interface import Batch, Captioner
from dsacap.common.progress import progress
from dsacap.text.vocabulary import Vocabulary
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
    """Image id -> its captions, as words joined by spaces. A decoding that is not random gives one caption whatever `samples` says.

    `prefix_of` gives as many words (ids) of each image, with which its captions then begin.
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
        for image_id, said in zip(
            ids, captioner.caption(batch, samples, seed, decoding), strict=True
        ):
            captions[image_id] = [vocabulary.decode(words) for words in said]
    captioner.train(training)
    return captions
