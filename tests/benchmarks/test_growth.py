"""Time and memory against the number of images, for docs/scaling.md.

    pytest --benchmark-only tests/benchmarks/test_growth.py

1,000 and 10,000 images; DSACAP_BENCH_FULL=1 adds 100,000. Captions are random, five an image. Their
vocabulary has the size of COCO's and the word frequencies of English. Each part runs in a process
of its own; the report has its CPU-seconds and its peak of memory above that at its start.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dsacap.common.files import write_json, write_tensors
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import load_examples, prepare
from dsacap.evaluation.scoring import score
from dsacap.scoring.metrics.coco_metrics import score_without_java
from dsacap.training.batches import batch_indices
from dsacap.training.cider_reward import CiderDReward
from dsacap.vision.features.store import INDEX, FeatureStore

COUNTS = [1_000, 10_000, *([100_000] if os.environ.get("DSACAP_BENCH_FULL") else [])]
WORDS, REFERENCES = 10_000, 5
TOKENS, CHANNELS, SHARD, BATCH, BATCHES = 50, 64, 4096, 64, 50


def captions(images: int) -> list[list[str]]:
    """Six of each image."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(WORDS)])
    chance = 1 / np.arange(1, WORDS + 1)
    lengths = rng.normal(10.5, 2.4, images * (REFERENCES + 1)).round().clip(5, 20).astype(int)
    drawn = iter(words[rng.choice(WORDS, lengths.sum(), p=chance / chance.sum())])
    texts = [" ".join(next(drawn) for _ in range(length)) for length in lengths]
    return [texts[at : at + REFERENCES + 1] for at in range(0, len(texts), REFERENCES + 1)]


def prepare_data(images: int, folder: Path) -> Callable[[], object]:
    """Write tokens and vocabulary of captions to disk, and load them, as every later stage does."""
    of_image = [
        CaptionedImage(i, f"{i}.jpg", "random", "train", tuple(texts[:REFERENCES]))
        for i, texts in enumerate(captions(images))
    ]

    def run() -> None:
        prepare(of_image, folder, 5)
        assert len(load_examples(folder)) == images

    return run


def open_features(images: int, folder: Path) -> Callable[[], object]:
    _write_features(images, folder)
    return lambda: FeatureStore(folder)


def read_features(images: int, folder: Path) -> Callable[[], object]:
    """50 batches of 64 images that are found as training finds them."""
    _write_features(images, folder)
    store = FeatureStore(folder)
    return lambda: [
        store.read(batch_indices(step, 0, images, BATCH).tolist()) for step in range(BATCHES)
    ]


def _write_features(images: int, folder: Path) -> None:
    shards, noise = [], torch.randn(SHARD, TOKENS, CHANNELS).half()
    for start in range(0, images, SHARD):
        ids = torch.arange(start, min(start + SHARD, images))
        tokens = noise[: len(ids)]
        shards.append({"file": f"shard-{start}.safetensors"})
        write_tensors(
            folder / shards[-1]["file"],
            {"ids": ids, "tokens": tokens, "pooled": tokens[:, 0].contiguous()},
        )
    write_tensors(
        folder / "statistics.safetensors",
        {"mean": torch.zeros(CHANNELS), "std": torch.ones(CHANNELS)},
    )
    write_json(
        folder / INDEX, {"shards": shards, "tokens": TOKENS, "channels": CHANNELS, "skipped": {}}
    )


def score_ngrams(images: int, folder: Path) -> Callable[[], object]:
    """BLEU, ROUGE-L and CIDEr-D of one caption an image."""
    texts = captions(images)
    references, candidates = (
        {i: of[:REFERENCES] for i, of in enumerate(texts)},
        {i: of[-1] for i, of in enumerate(texts)},
    )
    return lambda: score_without_java(references, candidates)


def score_files(images: int, folder: Path) -> Callable[[], object]:
    """The same of files, which are read, matched and tokenised first: what `dsacap.score` does."""
    texts = captions(images)
    for name, of_image in (("references", slice(REFERENCES)), ("predictions", slice(-1, None))):
        with (folder / name).open("w") as file:
            for i, of in enumerate(texts):
                for text in of[of_image]:
                    file.write(json.dumps({"image_id": i, "caption": text}) + "\n")
    del texts
    return lambda: score(
        folder / "predictions", folder / "references", metrics=("BLEU", "ROUGE-L", "CIDEr")
    )


def count_documents(images: int, folder: Path) -> Callable[[], object]:
    """What a CIDEr reward begins with: the document frequencies of the train split."""
    references = [of[:REFERENCES] for of in captions(images)]
    return lambda: CiderDReward(references)


def alone(part: Callable, images: int, folder: Path) -> tuple[float, float]:
    """CPU-seconds, which neighbours change little, and MiB that the work added to the process."""
    run = part(images, folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (Linux)
    before, started = memory_mib("VmRSS"), time.process_time()
    kept = run()
    seconds = time.process_time() - started
    del kept
    return seconds, memory_mib("VmHWM") - before


def memory_mib(field: str) -> float:
    return (
        next(
            int(line.split()[1])
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith(field)
        )
        / 1024
    )


@pytest.mark.parametrize("images", COUNTS)
@pytest.mark.parametrize(
    "part",
    [prepare_data, open_features, read_features, count_documents, score_ngrams, score_files],
)
def test_growth(benchmark, part, images, tmp_path):
    benchmark.group = part.__name__

    def run() -> tuple[float, float]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as process:
            return process.submit(alone, part, images, tmp_path).result()

    seconds, mib = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(images=images, cpu_seconds=round(seconds, 3), mib=round(mib, 1))
    print(f"\n{part.__name__}: {images:,} images, {seconds:.3f} CPU-s, {mib:.0f} MiB more")
