"""Decoding of every system at the default size with random weights: `pytest --benchmark-only`."""

from pathlib import Path

import pytest
import torch

from dsacap.captioner import UNK, Batch, ImageSpec
from dsacap.config import load_config
from dsacap.registry import captioner_class, load_captioner
from helpers import ListMemory

CONFIG = load_config(Path(__file__).parents[2] / "config" / "scenes.yaml")
SPEC = ImageSpec(tokens=4, channels=256, vocabulary=64, max_words=CONFIG.text.max_words)
ROWS = [(system, decoding) for system, settings in CONFIG.systems.items() for decoding in settings.decodings]


@pytest.mark.parametrize("images", [1, 32])
@pytest.mark.parametrize(("system", "decoding"), ROWS, ids=lambda x: str(x))
def test_decoding(benchmark, system, decoding, images):
    benchmark.group = f"decoding, batch {images}"
    settings = CONFIG.trained(system)
    torch.manual_seed(0)
    captioner = load_captioner(settings.captioner, settings.model, SPEC).eval()
    captioner.learn_from(ListMemory(torch.randint(UNK + 1, SPEC.vocabulary, (100, SPEC.max_words)).tolist()))
    options = captioner_class(settings.captioner).Decoding(**CONFIG.systems[system].decodings[decoding])
    batch = Batch(tuple(range(images)), torch.randn(images, SPEC.tokens, SPEC.channels))
    captions = benchmark(captioner.caption, batch, 1, 0, options)
    assert len(captions) == images
