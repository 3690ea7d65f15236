"""The reconstruction reward and the generator alone: `pytest --benchmark-only`.

What the reward adds to the generator must cost little.
"""

from pathlib import Path

import pytest
import torch

from dsacap.config.experiment import load_config
from dsacap.vision.generators.caption_prior import new_caption_prior
from dsacap.vision.generators.generator import FeatureGenerator
from dsacap.vision.generators.judges import Reconstruction

CONFIG = load_config(Path(__file__).parents[2] / "config" / "scenes.yaml")
TOKENS, CHANNELS, IMAGES, SAMPLES = 4, 256, 24, 8
WORDS = [f"word{i}" for i in range(60)]
CAPTIONS = [
    [" ".join(WORDS[(7 * i + s + k) % len(WORDS)] for k in range(12)) for s in range(SAMPLES)]
    for i in range(IMAGES)
]


class Store:
    features = torch.randn(IMAGES, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(0))

    @classmethod
    def read(cls, image_ids):
        return cls.features[list(image_ids)]


@pytest.mark.parametrize("of", ["generator", "reward"])
def test_reconstruction(benchmark, of):
    benchmark.group = f"reconstruction of {IMAGES} x {SAMPLES} captions"
    settings = CONFIG.generator
    torch.manual_seed(0)
    size = {"width": settings.train.width, "layers": settings.train.layers, "max_words": 24}
    prior = new_caption_prior([" ".join(WORDS)], TOKENS * CHANNELS, **size)
    generator, ids = FeatureGenerator(prior, settings.grid), list(range(IMAGES))
    reward = Reconstruction(generator, Store)
    noise = torch.randn(IMAGES * SAMPLES, TOKENS * CHANNELS)
    flat = [caption for of_image in CAPTIONS for caption in of_image]
    run = (
        (lambda: prior(flat, noise)) if of == "generator" else (lambda: reward.score(ids, CAPTIONS))
    )
    made = benchmark.pedantic(run, rounds=10, warmup_rounds=2)
    assert len(made) == (IMAGES * SAMPLES if of == "generator" else IMAGES)
