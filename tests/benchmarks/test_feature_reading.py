"""Reading features in random order, a training batch at a time: it must not be what a GPU waits for. `pytest --benchmark-only`."""

import numpy as np
import pytest
import torch

from dsacap.files import write_json, write_tensors
from dsacap.vision.features import INDEX, FeatureStore

IMAGES, SHARD, TOKENS, BATCH = 2048, 512, 50, 96  # a batch as in config/coco.yaml, tokens as of grid: 7


@pytest.fixture(scope="module", params=[("float16", 768), ("bfloat16", 768), ("bfloat16", 1024)], ids=lambda p: f"{p[1]} channels, {p[0]}")
def store(request, tmp_path_factory) -> FeatureStore:
    """Shards of random numbers as ViT-B/16 or ViT-L/14 leave them: 157 or 210 MB."""
    dtype, channels = request.param
    folder, generator = tmp_path_factory.mktemp("features"), torch.Generator().manual_seed(0)
    shards = []
    for start in range(0, IMAGES, SHARD):
        tokens = torch.randn(SHARD, TOKENS, channels, generator=generator).to(getattr(torch, dtype))
        shards.append({"file": f"shard-{start}.safetensors"})
        ids, pooled = torch.arange(start, start + SHARD), tokens[:, 0].contiguous()
        write_tensors(folder / shards[-1]["file"], {"ids": ids, "tokens": tokens, "pooled": pooled})
    write_tensors(folder / "statistics.safetensors", {"mean": torch.zeros(channels), "std": torch.ones(channels)})
    write_json(folder / INDEX, {"shards": shards, "tokens": TOKENS, "channels": channels, "skipped": {}})
    return FeatureStore(folder)


def test_shuffled_reading(benchmark, store):
    benchmark.group = f"features of {BATCH} images in random order, {TOKENS} tokens each"
    order = np.random.default_rng(0)
    read = benchmark.pedantic(lambda: store.read(order.choice(IMAGES, BATCH, replace=False).tolist()), rounds=50, warmup_rounds=5)
    assert read.shape == (BATCH, TOKENS, store.channels) and read.dtype == torch.float32
