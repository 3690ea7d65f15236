"""Reading in random order, a training batch at a time: `pytest --benchmark-only`.

A GPU must not have to wait for it.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.registry import load_captioner
from dsacap.common.files import write_json, write_tensors
from dsacap.config.training import Training
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.training.gradients import Read
from dsacap.training.loop import Step
from dsacap.training.read_ahead import ReadAhead
from dsacap.vision.encoders.load import without_weights
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import INDEX, FeatureStore

IMAGES, SHARD, TOKENS, BATCH = (
    2048,
    512,
    50,
    96,
)  # a batch as in config/coco.yaml, tokens as of grid: 7
STEP = 0.02  # seconds


def feature_store(folder: Path, dtype: str, channels: int) -> FeatureStore:
    """Shards of random numbers as ViT-B/16 or ViT-L/14 leave them: 157 or 210 MB."""
    generator, shards = torch.Generator().manual_seed(0), []
    for start in range(0, IMAGES, SHARD):
        tokens = torch.randn(SHARD, TOKENS, channels, generator=generator).to(getattr(torch, dtype))
        shards.append({"file": f"shard-{start}.safetensors"})
        ids, pooled = torch.arange(start, start + SHARD), tokens[:, 0].contiguous()
        write_tensors(folder / shards[-1]["file"], {"ids": ids, "tokens": tokens, "pooled": pooled})
    write_tensors(
        folder / "statistics.safetensors",
        {"mean": torch.zeros(channels), "std": torch.ones(channels)},
    )
    write_json(
        folder / INDEX, {"shards": shards, "tokens": TOKENS, "channels": channels, "skipped": {}}
    )
    return FeatureStore(folder)


def pixel_store(folder: Path) -> PixelFeatures:
    """Of 224 x 224, as ViT-B/16 looks at: 308 MB. A step sees parts of them, cut out anew."""
    generator, shards = torch.Generator().manual_seed(0), []
    for start in range(0, IMAGES, SHARD):
        shown = torch.randint(256, (SHARD, 3, 224, 224), generator=generator, dtype=torch.uint8)
        shards.append({"file": f"shard-{start}.safetensors"})
        ids = torch.arange(start, start + SHARD)
        write_tensors(
            folder / shards[-1]["file"], {"ids": ids, "sided": ids % 2 == 0, "pixels": shown}
        )
    write_json(folder / INDEX, {"shards": shards})
    return PixelFeatures(folder, None, without_weights("timm:test_vit"), drawn=True)


@pytest.fixture(
    scope="module",
    params=[("float16", 768), ("bfloat16", 768), ("bfloat16", 1024)],
    ids=lambda p: f"{p[1]} channels, {p[0]}",
)
def store(request, tmp_path_factory) -> FeatureStore:
    return feature_store(tmp_path_factory.mktemp("features"), *request.param)


def test_shuffled_reading(benchmark, store):
    benchmark.group = f"features of {BATCH} images in random order, {TOKENS} tokens each"
    order = np.random.default_rng(0)
    read = benchmark.pedantic(
        lambda: store.read(order.choice(IMAGES, BATCH, replace=False).tolist()),
        rounds=50,
        warmup_rounds=5,
    )
    assert read.shape == (BATCH, TOKENS, store.channels) and read.dtype == torch.float32


@pytest.fixture(scope="module", params=["features", "pixels"])
def take(request, tmp_path_factory) -> Step:
    """A training that reads as config/coco.yaml's does: five captions an image, 10,000 words."""
    folder = tmp_path_factory.mktemp(request.param)
    source = (
        pixel_store(folder) if request.param == "pixels" else feature_store(folder, "bfloat16", 768)
    )
    vocabulary, rng = (
        Vocabulary([*SPECIALS, *(f"w{i}" for i in range(10_000))]),
        np.random.default_rng(0),
    )
    words = np.array(vocabulary.words[len(SPECIALS) :])
    captions = [tuple(" ".join(rng.choice(words, 10)) for _ in range(5)) for _ in range(IMAGES)]
    examples = [
        Example(CaptionedImage(i, f"{i}.jpg", "random", "train", texts), texts)
        for i, texts in enumerate(captions)
    ]
    captioner = load_captioner(
        "autoregressive",
        {"width": 16, "heads": 2},
        ImageSpec(TOKENS, 768, len(vocabulary.words), 20),
    )
    return Step(
        captioner,
        Training(steps=10**6, batch_size=BATCH),
        0,
        examples,
        source,
        vocabulary,
        "",
        Accelerator(cpu=True),
        None,
    )


@pytest.mark.parametrize("how", ["nothing is read", "a step ahead", "in turn"])
def test_what_a_step_waits_for(benchmark, take, how):
    """Read for a device that works on each step for 20 ms while this process is idle.

    Sleeping simulates the GPU. The time above that of `nothing is read` is the GPU's wait.
    """
    benchmark.group = (
        f"steps of {1000 * STEP:.0f} ms on {BATCH} images, by a {type(take.store).__name__}"
    )
    known, steps = take._read(0), itertools.count()
    read = {
        "nothing is read": lambda step: known,
        "a step ahead": ReadAhead(take._read, 10**6),
        "in turn": take._read,
    }[how]

    def step() -> Read:
        found = read(next(steps))
        time.sleep(STEP)
        return found

    last = benchmark.pedantic(step, rounds=60, warmup_rounds=10)
    assert len(last.ids) == BATCH and (last.ids == known.ids) == (how == "nothing is read")
