"""The validation of generators as judges of captions.

On held-out images, a generator has to reconstruct the original better from a right caption than
from a wrong one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dsacap.data.prepared import Example
from dsacap.data.scenes.corruptions import corrupt
from dsacap.data.scenes.grammar import Scene
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import Generator, auc, originals

_SEED = 3
Pair = tuple[str, str, str]  # a right caption, a wrong one, and the respect in which they differ


def mistaken_captions(
    examples: Sequence[Example], scenes: Mapping[int, Scene]
) -> list[Pair | None]:
    """Pair a caption of each scene with a copy in which one property is wrong.

    Args:
        examples: Images of scenes.
        scenes: Their scenes by image id.

    Returns:
        One pair per image, in which a colour, shape, size or position is exchanged; None where the
        caption allows no exchange.
    """
    pairs: list[Pair | None] = []
    for example in examples:
        rng = np.random.default_rng([_SEED, example.image_id])
        caption = example.tokens[rng.integers(len(example.tokens))]
        wrong = corrupt(caption, scenes[example.image_id], rng)
        pairs.append((caption, *wrong) if wrong else None)
    return pairs


def near_captions(examples: Sequence[Example], store: FeatureStore, grid: int | None) -> list[Pair]:
    """Pair a caption of each photo with a caption of the photo that looks most like it.

    Args:
        examples: The photos.
        store: Their features.
        grid: As in `Generator`; determines the features by which photos are compared.
    """
    unit_IE = originals(store, [example.image_id for example in examples], grid)
    nearest = (unit_IE @ unit_IE.T).fill_diagonal_(-1).argmax(-1).tolist()
    return [
        (_first(example), _first(examples[other]), "nearest photo")
        for example, other in zip(examples, nearest, strict=True)
    ]


def held_out_auc(
    generator: Generator,
    store: FeatureStore,
    examples: Sequence[Example],
    pairs: Sequence[Pair | None],
) -> dict[str, float]:
    """Measure how often a right caption scores above a wrong one, by the cosine of the reward.

    Args:
        generator: The generator.
        store: Features of the originals.
        examples: Held-out images.
        pairs: The right and wrong caption of each image; None leaves the image out.

    Returns:
        Areas under the ROC curve: `wrong` for all pairs; one for each respect in which captions
        differ; `random` for another image's caption as the wrong one; and `unpaired` for right and
        wrong captions of any two images.
    """
    kept = [(example, *pair) for example, pair in zip(examples, pairs, strict=True) if pair]
    images = [example for example, *_ in kept]
    original_IE = originals(store, [example.image_id for example in images], generator.grid)
    others = [_first(images[(i + 1) % len(images)]) for i in range(len(images))]
    right_I, wrong_I, random_I = (
        (generator.embed(captions, [e.image_id for e in images]).cpu() * original_IE).sum(-1)
        for captions in ([r for _, r, _, _ in kept], [w for _, _, w, _ in kept], others)
    )
    respects = [respect for *_, respect in kept]
    aucs = {"wrong": auc(right_I, wrong_I)}
    for respect in sorted(set(respects)):
        chosen = torch.tensor([r == respect for r in respects])
        aucs[respect] = auc(right_I[chosen], wrong_I[chosen])
    aucs["unpaired"] = auc(right_I[:, None], wrong_I[None])
    aucs["random"] = auc(right_I, random_I)
    return {name: round(value, 4) for name, value in aucs.items()}


def _first(example: Example) -> str:
    return next(caption for caption in example.tokens if caption)
