"""Photos encoded once: decoded by worker processes, seen by the frozen encoder, written to safetensors shards of what it saw."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dsacap.data.coco import CaptionedImage
from dsacap.data.download import check_room
from dsacap.data.photos import BadImage, PhotoSource, decode
from dsacap.errors import UserError
from dsacap.files import read_json, read_tensors, sha256, write_json, write_tensors
from dsacap.progress import progress
from dsacap.vision.features import INDEX
from dsacap.vision.views import AUGMENTATION, augmented

if TYPE_CHECKING:  # open_clip takes seconds to load, and the size of features can be told without it
    from dsacap.vision.encoder import Encoder

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
    chunks = [images[start : start + shard_size] for start in range(0, len(images), shard_size)]
    paths = [folder / f"shard-{number:05d}.safetensors" for number in range(len(chunks))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    left = sum(len(chunks[number]) for number in missing)
    if missing:
        size = FeatureSize(left, views, *encoder.shape())
        print(f"features: {size} to write in {folder}", file=sys.stderr)
        check_room({folder: size.bytes})
    done, seconds = 0, 0.0
    with progress(None, "encode photos", "photo", total=len(images), initial=len(images) - left) as bar:
        for number in missing:
            started = time.perf_counter()
            photos = _Photos(chunks[number], sources, encoder, views)
            loader = DataLoader(photos, batch_size, collate_fn=_collated, num_workers=workers)
            skipped = _encode_shard(loader, encoder, paths[number], dtype, on_bad_image, bar)
            write_json(paths[number].with_suffix(".skipped.json"), skipped)
            done, seconds = done + len(photos), seconds + time.perf_counter() - started
            if number == missing[0] and left > done:
                minutes = (left - done) * seconds / done / 60
                print(f"features: {done / seconds:.1f} photos/s in the first shard, so {minutes:.0f} minutes more", file=sys.stderr)
    train = {image.image_id for image in images if image.split == "train"}
    write_tensors(folder / "statistics.safetensors", _train_statistics(paths, train))
    index = _index(paths, views)
    write_json(folder / INDEX, index)
    return index | {"photos_per_second": round(done / seconds, 1) if done else None}


def _index(paths: Sequence[Path], views: int) -> dict:
    with safe_open(paths[0], "pt") as file:
        shape = file.get_slice("tokens").get_shape()
    skipped: dict[str, str] = {}
    for path in paths:
        skipped |= read_json(path.with_suffix(".skipped.json"))
    index = {"shards": _hashed(paths), "tokens": shape[1], "channels": shape[2], "skipped": skipped}
    if views > 1:
        index["views"] = [_hashed([_view_file(path, view) for path in paths]) for view in range(1, views)]
        index["augmentation"] = AUGMENTATION
    return index


def _hashed(paths: Iterable[Path]) -> list[dict[str, str]]:
    return [{"file": path.name, "sha256": sha256(path)} for path in paths]


def _view_file(shard: Path, view: int) -> Path:
    return shard.with_name(f"{shard.stem}-view-{view}.safetensors")


class _Photos(Dataset):
    """Image id and the preprocessed views of a photo [views, 3, H, W], or what is wrong with it."""

    def __init__(self, images: Sequence[CaptionedImage], sources: dict[str, PhotoSource], encoder: Encoder, views: int):
        self.images, self.sources, self.views = images, sources, views
        self.preprocess, self.size = encoder.preprocess, encoder.image_size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[int, Tensor | UserError]:
        image = self.images[at]
        name = f"{image.source}/{image.file_name} (image id {image.image_id})"
        try:
            photo = decode(self.sources[image.source].read(image.file_name), name)
        except UserError as error:  # raised in the main process, so that its message is not wrapped in the worker's
            return image.image_id, error
        views = [photo, *(augmented(photo, image, view, self.size) for view in range(1, self.views))]
        return image.image_id, torch.stack([self.preprocess(view) for view in views])


def _collated(items: Sequence[tuple[int, Tensor | UserError]]) -> tuple[list[int], Tensor | None, dict[int, UserError]]:
    """Ids and pixels [B, views, 3, H, W] of the photos that could be decoded, and what is wrong with the others."""
    good = [(image_id, pixels) for image_id, pixels in items if isinstance(pixels, Tensor)]
    bad = {image_id: error for image_id, error in items if isinstance(error, UserError)}
    return [image_id for image_id, _ in good], torch.stack([pixels for _, pixels in good]) if good else None, bad


def _encode_shard(loader: DataLoader, encoder: Encoder, path: Path, dtype: torch.dtype, on_bad_image: str, bar: tqdm) -> dict[str, str]:
    """Writes the shard, that of the photos themselves last: where it is, all of it is. Returns the skipped photos with reasons."""
    views = loader.dataset.views
    ids, skipped = [], {}
    tokens: list[list[Tensor]] = [[] for _ in range(views)]
    pooled: list[list[Tensor]] = [[] for _ in range(views)]
    for ids_here, pixels, bad in loader:
        for image_id, error in bad.items():
            if not isinstance(error, BadImage):
                raise error
            if on_bad_image == "error":
                raise BadImage(f"{error}. Repair or remove the photo, or set encoder.on_bad_image: skip")
            skipped[str(image_id)] = str(error)
        ids += ids_here
        for view in range(views) if ids_here else ():
            tokens_BNC, pooled_BE = encoder(pixels[:, view].to(encoder.device))
            tokens[view].append(_narrowed(tokens_BNC, dtype))
            pooled[view].append(_narrowed(pooled_BE, dtype))
        bar.update(len(ids_here) + len(bad))
    if not ids:
        raise UserError(f"{path}: no photo of {len(skipped)} could be decoded; first: {next(iter(skipped.values()))}")
    for view in reversed(range(views)):
        tensors = {"ids": torch.tensor(ids), "tokens": torch.cat(tokens[view]), "pooled": torch.cat(pooled[view])}
        write_tensors(_view_file(path, view) if view else path, tensors)
    return skipped


def _narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """On the CPU, in 16 bits; UserError where they cannot hold a value."""
    narrow = values.to(dtype)
    if not narrow.isfinite().all():
        raise UserError(f"the encoder gives values that {dtype} cannot hold; set encoder.dtype: bfloat16, or look at its weights")
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
            total, squares, count = total + values.sum(0), squares + values.square().sum(0), count + len(values)
    mean = total / count
    return {"mean": mean.float(), "std": (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-4).float()}


def pixels_of(images: Sequence[CaptionedImage], sources: dict[str, PhotoSource]) -> Tensor:
    """Decoded photos of equal size, uint8 [n, H, W, 3]: for training an encoder on them."""
    arrays = []
    for image in progress(images, "decode photos", "photo"):
        photo: Image.Image = decode(sources[image.source].read(image.file_name), f"{image.file_name} (image id {image.image_id})")
        arrays.append(np.asarray(photo))
    return torch.from_numpy(np.stack(arrays))
