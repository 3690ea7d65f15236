"""Helpers for several tests: a tiny benchmark, and random batches for a captioner."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dsacap.captioner.interface import Batch, ImageSpec
from dsacap.captioner.memory import Memory
from dsacap.config.experiment import Config, parse_config
from dsacap.runs.layout import Layout
from dsacap.text.vocabulary import EOS, PAD, UNK

# The sizes of the scenes' features and vocabulary.
SCENES_SHAPE = {"tokens": 4, "channels": 256, "vocabulary": 64}
SPEC = ImageSpec(tokens=4, channels=6, vocabulary=14, max_words=7)
TINY_VIT = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
JUDGE = {
    "encoder": {"train": {"steps": 2, "seed": 1}},
    "generator": {"train": {"steps": 2, "seed": 1}},
}
VERTICES, VOCABULARY, LONGEST = 7, 9, 5  # the small graph that is searched by brute force


def random_batch(images: int, references: int = 3, seed: int = 0) -> Batch:
    """Return random features and captions of 1 to `max_words` words."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, SPEC.tokens, SPEC.channels, generator=generator)
    captions = torch.randint(
        4, SPEC.vocabulary, (images, references, SPEC.max_words + 1), generator=generator
    )
    length = torch.randint(1, SPEC.max_words + 1, (images, references, 1), generator=generator)
    place = torch.arange(SPEC.max_words + 1)
    captions = captions.masked_fill(place == length, EOS).masked_fill(place > length, PAD)
    return Batch(tuple(range(100, 100 + images)), features, captions)


def noise_photo(size: tuple[int, int], spread: float, seed: int = 0) -> Image.Image:
    """Return grey normal noise around 128, the same in every run.

    Image.effect_noise draws from the C library's generator, which nobody seeds for a test.
    """
    noise = np.random.default_rng(seed).normal(128, spread, size[::-1])
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8)).convert("RGB")


class ListMemory(Memory):
    """A few captions; the nearest ones to image i are number i and those after it."""

    def __init__(self, captions: list[list[int]]):
        self._captions = captions

    def captions(self):
        return iter(self._captions)

    def nearest(self, image_ids, count):
        return torch.tensor(
            [
                [self._captions[(i + k) % len(self._captions)] for k in range(count)]
                for i in image_ids
            ]
        )


def part_of(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.image_ids[rows], batch.features[rows], batch.captions[rows])


def borrow(layout: Layout, shared: Layout) -> Layout:
    """Link what `shared` has of data, encoder, features, pixels and generator into `layout`."""
    layout.root.mkdir(parents=True, exist_ok=True)
    for name in ("data", "encoder", "features", "pixels", "generator"):
        if getattr(shared, name).exists() and not getattr(layout, name).exists():
            getattr(layout, name).symlink_to(getattr(shared, name))
    return layout


def tiny_config(work: Path, **changes) -> Config:
    """Return the configuration of a complete benchmark that trains in seconds."""
    small = {"width": 16, "heads": 2}
    data = {
        "name": "tiny",
        "work": str(work),
        "results": str(work / "results"),
        "dataset": {"kind": "scenes", "train": 24, "val": 6, "test": 6},
        "text": {"max_words": 32},
        "encoder": {"train": {"steps": 2, "batch_size": 8}, "shard_size": 20},
        "generator": {"train": {"steps": 3, "batch_size": 6, "width": 32, "layers": 1}},
        "training": {
            "steps": 12,
            "batch_size": 6,
            "warmup": 2,
            "evaluations": 2,
            "validation_images": 6,
        },
        "scoring": {"spice": "off"},
        "timing": {"batch_sizes": [1, 4], "warmup": 1, "rounds": 3, "iterations": 1},
        "systems": {
            "ar": {
                "captioner": "autoregressive",
                "model": {**small, "encoder_layers": 1, "decoder_layers": 1},
                "decodings": {"greedy": {}, "T=1": {"temperature": 1.0}},
            },
            "dsacap": {
                "captioner": "dsacap",
                "model": {**small, "denoiser_layers": 1, "readout_layers": 1},
                "decodings": {"K=1": {"noise_level": 0.3}},
            },
            "dsacap-rl": {
                "tuned_from": "dsacap",
                "tuning": {
                    "steps": 6,
                    "batch_size": 6,
                    "warmup": 1,
                    "evaluations": 2,
                    "validation_images": 6,
                    "samples": 3,
                    "rewards": {"cider": 1.0, "reconstruction": 2.0, "repeats": 0.5, "excess": 0.1},
                    "kl": 0.1,
                },
                "decodings": {"K=1": {"noise_level": 0.3}},
            },
        },
    }
    return parse_config({**data, **changes}, "tiny")


def score_files(layout: Layout, scores: dict) -> None:
    """Write files of scores per image, from row -> metric -> values by seed and image."""
    by_seed: dict = {}
    for row, metrics in scores.items():
        for at, seed in enumerate(layout.config.seeds_of(row.system)):
            quality = {
                metric: {"per_image": {str(i): float(v) for i, v in enumerate(values_SI[at])}}
                for metric, values_SI in metrics.items()
            }
            parts = {"quality": quality, "diversity": {}}
            by_seed.setdefault(layout.scores(row.system, seed), {})[row.decoding] = parts
    for path, content in by_seed.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def save_vit(folder):
    """Save a random vision transformer in open_clip's own format, like a user's download."""
    import open_clip

    from dsacap.vision.encoders.tiny_clip import save_clip

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    clip = open_clip.CLIP(**TINY_VIT)
    save_clip(clip, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps({**config, "model_cfg": TINY_VIT}))
    return clip.eval()


def score(value, interval=None, n=6) -> dict:
    """Return a score in the format of result files."""
    return {
        "value": value,
        "interval": interval,
        "n": n,
        "per_image": {},
        "signature": f"metric|of:{value}",
    }


def learn_by_heart(captioner, batch: Batch, steps: int, learning_rate: float) -> None:
    """Train on a single batch, again and again."""
    optimizer = torch.optim.Adam(captioner.parameters(), lr=learning_rate)
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        captioner.loss(batch)["loss"].backward()
        optimizer.step()


def words_of(batch: Batch) -> list[list[int]]:
    """Return the words of each image's first reference."""
    return [[word for word in image[0] if word > UNK] for image in batch.captions.tolist()]
