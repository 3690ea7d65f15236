"""Photos encoded once: decoded by worker processes, seen by the frozen encoder, written to safetensors shards of what it saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.files import read_tensors, write_json, write_tensors
from dsacap.common.progress import progress
from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import PhotoSource, decode
from dsacap.vision.features.shards import Batches, Reading, hashed, skipped_in, write_shards
from dsacap.vision.features.store import INDEX
from dsacap.vision.features.views import AUGMENTATION

if (
    TYPE_CHECKING
):  # open_clip takes seconds to load, and the size of features can be told without it
    from dsacap.vision.encoders.base import Encoder

_STATISTICS_ROOM = 2**26  # values that are summed up at a time: half a GB in float64


class FeatureSize(NamedTuple):
    """What the features of some photos take on disk."""

    images: int
    views: int
    tokens: int
    channels: int
    pooled: int

    @property
    def bytes(self) -> int:
        return self.images * (self.views * 2 * (self.tokens * self.channels + self.pooled) + 8)

    def __str__(self) -> str:
        views = f"{self.views} views x " if self.views > 1 else ""
        return f"{self.images:,} photos x {views}{self.tokens} tokens x {self.channels} channels of 16 bits: {self.bytes / 1e9:.2f} GB"


def encode_photos(
    images: Sequence[CaptionedImage],
    sources: dict[str, PhotoSource],
    encoder: Encoder,
    folder: Path,
    *,
    batch_size: int,
    shard_size: int,
    on_bad_image: str,
    dtype: torch.dtype = torch.float16,
    views: int = 1,
    workers: int = 0,
) -> dict:
    """Decodes and encodes every photo once, a shard at a time, and writes an index with the standardisation of the train split.

    dtype: of what is written, float16 or bfloat16; views: the photo itself and views - 1 others, cut out at random; workers: processes
    that decode, beside this one.

    What it will take on disk is said, and checked, before it begins; how long it will take after the first shard. Resumable: a shard
    that is whole is kept. Returns the index (shards with their hashes, token shape, skipped images with reasons), and beside it
    "photos_per_second", of decoding and encoding together, or null if nothing was left to do.
    """
    reading = Reading(
        sources, encoder.preprocess, encoder.image_size, batch_size, on_bad_image, views, workers
    )
    paths, photos_per_second = write_shards(
        "features",
        images,
        reading,
        folder,
        shard_size,
        lambda photos: FeatureSize(photos, views, *encoder.shape()),
        partial(_encode_shard, encoder=encoder, dtype=dtype, views=views),
    )
    train = {image.image_id for image in images if image.split == "train"}
    write_tensors(folder / "statistics.safetensors", _train_statistics(paths, train))
    index = _index(paths, views)
    write_json(folder / INDEX, index)
    return index | {"photos_per_second": photos_per_second}


def _index(paths: Sequence[Path], views: int) -> dict:
    with safe_open(paths[0], "pt") as file:
        shape = file.get_slice("tokens").get_shape()
    index = {
        "shards": hashed(paths),
        "tokens": shape[1],
        "channels": shape[2],
        "skipped": skipped_in(paths),
    }
    if views > 1:
        index["views"] = [
            hashed([_view_file(path, view) for path in paths]) for view in range(1, views)
        ]
        index["augmentation"] = AUGMENTATION
    return index


def _view_file(shard: Path, view: int) -> Path:
    return shard.with_name(f"{shard.stem}-view-{view}.safetensors")


def _encode_shard(
    batches: Batches, path: Path, encoder: Encoder, dtype: torch.dtype, views: int
) -> None:
    """Writes the shard, that of the photos themselves last: where it is, all of it is."""
    ids: list[int] = []
    tokens: list[list[Tensor]] = [[] for _ in range(views)]
    pooled: list[list[Tensor]] = [[] for _ in range(views)]
    for ids_here, pixels in batches:
        ids += ids_here
        for view in range(views):
            tokens_BNC, pooled_BE = encoder(pixels[:, view].to(encoder.device))
            tokens[view].append(_narrowed(tokens_BNC, dtype))
            pooled[view].append(_narrowed(pooled_BE, dtype))
    for view in reversed(range(views)):
        tensors = {
            "ids": torch.tensor(ids),
            "tokens": torch.cat(tokens[view]),
            "pooled": torch.cat(pooled[view]),
        }
        write_tensors(_view_file(path, view) if view else path, tensors)


def _narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """On the CPU, in 16 bits; UserError where they cannot hold a value."""
    narrow = values.to(dtype)
    if not narrow.isfinite().all():
        raise UserError(
            f"the encoder gives values that {dtype} cannot hold; set encoder.dtype: bfloat16, or look at its weights"
        )
    return narrow.cpu()


def _train_statistics(shards: Iterable[Path], train: set[int]) -> dict[str, Tensor]:
    """Mean and standard deviation of each channel over all tokens of the train images, in float64."""
    total = squares = 0.0
    count = 0
    for path in shards:
        tensors, _ = read_tensors(path)
        mine = torch.tensor([i in train for i in tensors["ids"].tolist()])
        rows = tensors["tokens"][mine]
        for part in rows.split(max(1, _STATISTICS_ROOM // rows[:1].numel())) if len(rows) else ():
            values = part.double().flatten(0, 1)
            total, squares, count = (
                total + values.sum(0),
                squares + values.square().sum(0),
                count + len(values),
            )
    mean = total / count
    return {
        "mean": mean.float(),
        "std": (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-4).float(),
    }


def pixels_of(images: Sequence[CaptionedImage], sources: dict[str, PhotoSource]) -> Tensor:
    """Decoded photos of equal size, uint8 [n, H, W, 3]: for training an encoder on them."""
    arrays = []
    for image in progress(images, "decode photos", "photo"):
        photo: Image.Image = decode(
            sources[image.source].read(image.file_name),
            f"{image.file_name} (image id {image.image_id})",
        )
        arrays.append(np.asarray(photo))
    return torch.from_numpy(np.stack(arrays))
