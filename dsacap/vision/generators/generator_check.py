"""Can a generator judge captions? It must bring the original back better from a right caption than from a wrong one, on held-out images."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dsacap.data.prepared import Example
from dsacap.data.scenes.corruptions import corrupt
from dsacap.data.scenes.grammar import Scene
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import Generator, auc, originals

_SEED = 3
Pair = tuple[str, str, str]  # a right caption, a wrong one, and in which respect


def mistaken_captions(
    examples: Sequence[Example], scenes: Mapping[int, Scene]
) -> list[Pair | None]:
    """Of each image of scenes a caption, and the same with one colour, shape, size or place exchanged; None where none can be."""
    pairs = []
    for example in examples:
        rng = np.random.default_rng([_SEED, example.image_id])
        caption = example.tokens[rng.integers(len(example.tokens))]
        wrong = corrupt(caption, scenes[example.image_id], rng)
        pairs.append((caption, *wrong) if wrong else None)
    return pairs


def near_captions(examples: Sequence[Example], store: FeatureStore, grid: int | None) -> list[Pair]:
    """Of each photo a caption, and one of the photo that looks most like it."""
    unit_IE = originals(store, [example.image_id for example in examples], grid)
    near = (unit_IE @ unit_IE.T).fill_diagonal_(-1).argmax(-1).tolist()
    return [
        (_first(example), _first(examples[other]), "nearest photo")
        for example, other in zip(examples, near, strict=True)
    ]


def held_out_auc(
    generator: Generator,
    store: FeatureStore,
    examples: Sequence[Example],
    pairs: Sequence[Pair | None],
) -> dict[str, float]:
    """The share of images whose right caption scores higher than the wrong one, by the reward's own cosine: for all pairs, for each
    respect, and for a random image's caption as the wrong one; and, as `unpaired`, for right and wrong captions of any two images."""
    kept = [(example, *pair) for example, pair in zip(examples, pairs, strict=True) if pair]
    images = [example for example, *_ in kept]
    original_IE = originals(store, [example.image_id for example in images], generator.grid)
    others = [_first(images[(i + 1) % len(images)]) for i in range(len(images))]
    right_I, wrong_I, random_I = (
        (generator.embed(said, [e.image_id for e in images]).cpu() * original_IE).sum(-1)
        for said in ([r for _, r, _, _ in kept], [w for _, _, w, _ in kept], others)
    )
    respects = [respect for *_, respect in kept]
    found = {"wrong": auc(right_I, wrong_I)}
    for respect in sorted(set(respects)):
        mine = torch.tensor([r == respect for r in respects])
        found[respect] = auc(right_I[mine], wrong_I[mine])
    found["unpaired"] = auc(right_I[:, None], wrong_I[None])
    found["random"] = auc(right_I, random_I)
    return {name: round(value, 4) for name, value in found.items()}


def _first(example: Example) -> str:
    return next(caption for caption in example.tokens if caption)
