"""Features of photos: encoded once by a frozen encoder, and written to safetensors shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from dsacap.vision.features.shards import (
    Batches,
    PhotoReader,
    PhotoSet,
    file_hashes,
    skipped_in,
    write_shards,
)
from dsacap.vision.features.store import INDEX
from dsacap.vision.features.views import AUGMENTATION

if TYPE_CHECKING:  # encoders take seconds to import, and the size of features needs none
    from dsacap.vision.encoders.base import Encoder

_STATISTICS_ROOM = 2**26  # values that are summed at a time: half a GB in float64


class FeatureSize(NamedTuple):
    """The size of features on disk: 16 bits a value, and 8 bytes for each image id."""

    images: int
    views: int
    tokens: int
    channels: int
    pooled: int

    @property
    def bytes(self) -> int:
        """The size in bytes, without the headers of files."""
        return self.images * (self.views * 2 * (self.tokens * self.channels + self.pooled) + 8)

    def __str__(self) -> str:
        views = f"{self.views} views x " if self.views > 1 else ""
        return (
            f"{self.images:,} photos x {views}{self.tokens} tokens x {self.channels} channels of"
            f" 16 bits: {self.bytes / 1e9:.2f} GB"
        )


def encode_photos(
    photos: PhotoSet,
    encoder: Encoder,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    views: int = 1,
) -> dict:
    """Decode and encode every photo once, a shard at a time.

    Writes the shards, an index, and the mean and standard deviation of each channel over the train
    split. Complete shards are kept, so an interrupted run can be resumed. The size on disk is
    printed and checked before the first shard is written, and the remaining time is printed after
    it.

    Args:
        photos: The photos, with their splits.
        encoder: The frozen encoder.
        folder: Where the features go.
        dtype: The type of the features on disk: float16 or bfloat16.
        views: Features per photo: one of the whole photo, the others of random crops.

    Returns:
        The index (shards with their hashes, shape of tokens, skipped images with reasons), and
        `photos_per_second` of decoding and encoding together, or None if no shard was missing.

    Raises:
        UserError: A photo cannot be read, the disk has too little space, a feature does not fit
            `dtype`, or no photo of the train split could be decoded.
    """
    reader = PhotoReader(photos, encoder.preprocess, encoder.image_size, views)
    paths, photos_per_second = write_shards(
        "features",
        reader,
        folder,
        lambda count: FeatureSize(count, views, *encoder.shape()),
        partial(_encode_shard, encoder=encoder, dtype=dtype, views=views),
    )
    return finished(folder, photos, paths, views) | {"photos_per_second": photos_per_second}


def finished(folder: Path, photos: PhotoSet, paths: Sequence[Path], views: int) -> dict:
    """Write the statistics and the index of features whose shards are complete.

    Args:
        folder: Where the features are.
        photos: The photos, with their splits.
        paths: The shards of whole photos.
        views: Features per photo.

    Returns:
        The index.

    Raises:
        UserError: No image of the train split has features.
    """
    train = {image.image_id for image in photos.images if image.split == "train"}
    write_tensors(folder / "statistics.safetensors", _train_statistics(paths, train))
    index = _index(paths, views)
    write_json(folder / INDEX, index)
    return index


def encode_altered(
    photos: PhotoSet,
    encoder: Encoder,
    folder: Path,
    alter: Callable[[Image.Image], Image.Image],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Encode photos that are altered first, as `encode_photos` does but without statistics.

    Args:
        photos: The photos.
        encoder: The frozen encoder.
        folder: Where the features go.
        alter: Returns the altered photo. It is pickled for the processes that decode photos.
        dtype: The type of the features on disk: float16 or bfloat16.

    Raises:
        UserError: As for `encode_photos`.
    """
    preprocess = partial(_altered_first, alter, encoder.preprocess)
    paths, _ = write_shards(
        f"features, {folder.name}",
        PhotoReader(photos, preprocess, encoder.image_size),
        folder,
        lambda count: FeatureSize(count, 1, *encoder.shape()),
        partial(_encode_shard, encoder=encoder, dtype=dtype, views=1),
    )
    write_json(folder / INDEX, _index(paths, 1))


def _altered_first(
    alter: Callable[[Image.Image], Image.Image],
    preprocess: Callable[[Image.Image], Tensor],
    photo: Image.Image,
) -> Tensor:
    return preprocess(alter(photo))


def _index(paths: Sequence[Path], views: int) -> dict:
    with safe_open(paths[0], "pt") as file:
        shape = file.get_slice("tokens").get_shape()
    index = {
        "shards": file_hashes(paths),
        "tokens": shape[1],
        "channels": shape[2],
        "skipped": skipped_in(paths),
    }
    if views > 1:
        index["views"] = [
            file_hashes([_view_file(path, view) for path in paths]) for view in range(1, views)
        ]
        index["augmentation"] = AUGMENTATION
    return index


def _view_file(shard: Path, view: int) -> Path:
    return shard.with_name(f"{shard.stem}-view-{view}.safetensors")


def _encode_shard(
    batches: Batches, path: Path, encoder: Encoder, dtype: torch.dtype, views: int
) -> None:
    """Write a shard of each view, the whole photos' last: if that one exists, all do."""
    ids: list[int] = []
    tokens: list[list[Tensor]] = [[] for _ in range(views)]
    pooled: list[list[Tensor]] = [[] for _ in range(views)]
    for batch_ids, pixels in batches:
        ids += batch_ids
        for view in range(views):
            tokens_BNC, pooled_BE = encoder(pixels[:, view].to(encoder.device))
            tokens[view].append(_in_16_bits(tokens_BNC, dtype))
            pooled[view].append(_in_16_bits(pooled_BE, dtype))
    for view in reversed(range(views)):
        tensors = {
            "ids": torch.tensor(ids),
            "tokens": torch.cat(tokens[view]),
            "pooled": torch.cat(pooled[view]),
        }
        write_tensors(_view_file(path, view) if view else path, tensors)


def _in_16_bits(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values as `dtype` on the CPU, and raise UserError if it cannot hold one of them."""
    narrow = values.to(dtype)
    if not narrow.isfinite().all():
        raise UserError(
            f"features: the encoder returns values that {dtype} cannot hold; set encoder.dtype:"
            " bfloat16, or check the encoder's weights"
        )
    return narrow.cpu()


def _train_statistics(shards: Iterable[Path], train: set[int]) -> dict[str, Tensor]:
    """Compute the mean and standard deviation of each channel over the train images' tokens.

    Sums are in float64, and the result is float32 (channels). UserError if no train image has
    features.
    """
    total = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    for path in shards:
        tensors, _ = read_tensors(path)
        in_train = torch.tensor([i in train for i in tensors["ids"].tolist()])
        rows = tensors["tokens"][in_train]
        for part in rows.split(max(1, _STATISTICS_ROOM // rows[:1].numel())) if len(rows) else ():
            values = part.double().flatten(0, 1)
            total, squares, count = (
                total + values.sum(0),
                squares + values.square().sum(0),
                count + len(values),
            )
    if not count:
        raise UserError(
            "features: no photo of the train split could be decoded, so features cannot be"
            " standardised; repair the photos, and delete the folder of the features before you"
            " run this again"
        )
    mean = total / count
    return {
        "mean": mean.float(),
        "std": (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-4).float(),
    }


def pixels_of(images: Sequence[CaptionedImage], sources: dict[str, PhotoSource]) -> Tensor:
    """Decode photos of equal size, to train an encoder on them.

    Args:
        images: The images.
        sources: Where photos are read from, by the name of the source.

    Returns:
        Pixels (images, height, width, 3) as uint8.

    Raises:
        UserError: A photo is missing or cannot be decoded.
    """
    arrays = []
    for image in progress(images, "decode photos", "photo"):
        photo: Image.Image = decode(
            sources[image.source].read(image.file_name),
            f"{image.file_name} (image id {image.image_id})",
        )
        arrays.append(np.asarray(photo))
    return torch.from_numpy(np.stack(arrays))
