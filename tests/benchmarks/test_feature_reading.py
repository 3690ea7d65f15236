"""Reading features in random order, a training batch at a time: it must not be what a GPU waits for. `pytest --benchmark-only`."""

import numpy as np
import pytest
import torch

from dsacap.files import write_json, write_tensors
from dsacap.vision.features import INDEX, FeatureStore

IMAGES, SHARD, TOKENS, CHANNELS, BATCH = 4096, 1024, 50, 256, 64


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    """Shards of random numbers as an encoder leaves them: 105 MB."""
    folder, generator = tmp_path_factory.mktemp("features"), torch.Generator().manual_seed(0)
    shards = []
    for start in range(0, IMAGES, SHARD):
        tokens = torch.randn(SHARD, TOKENS, CHANNELS, generator=generator).half()
        shards.append({"file": f"shard-{start}.safetensors"})
        ids, pooled = torch.arange(start, start + SHARD), tokens[:, 0].contiguous()
        write_tensors(folder / shards[-1]["file"], {"ids": ids, "tokens": tokens, "pooled": pooled})
    write_tensors(folder / "statistics.safetensors", {"mean": torch.zeros(CHANNELS), "std": torch.ones(CHANNELS)})
    write_json(folder / INDEX, {"shards": shards, "tokens": TOKENS, "channels": CHANNELS, "skipped": {}})
    return FeatureStore(folder)


def test_shuffled_reading(benchmark, store):
    benchmark.group = f"features of {BATCH} images in random order, {TOKENS} x {CHANNELS} each"
    order = np.random.default_rng(0)
    read = benchmark.pedantic(lambda: store.read(order.choice(IMAGES, BATCH, replace=False).tolist()), rounds=50, warmup_rounds=5)
    assert read.shape == (BATCH, TOKENS, CHANNELS) and read.dtype == torch.float32
