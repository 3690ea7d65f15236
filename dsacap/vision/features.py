"""Encoded photos on disk: safetensors shards of tokens and pooled vectors, written once, read row by row without loading them whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import BadImage, PhotoSource, decode
from dsacap.errors import UserError
from dsacap.files import read_json, read_tensors, sha256, write_json, write_tensors
from dsacap.progress import progress

if TYPE_CHECKING:  # open_clip takes seconds to load, and reading features does not need it
    from dsacap.vision.encoder import Encoder

INDEX = "index.json"


def encode_photos(
    images: Sequence[CaptionedImage],
    sources: dict[str, PhotoSource],
    encoder: Encoder,
    folder: Path,
    *,
    batch_size: int,
    shard_size: int,
    on_bad_image: str,
) -> dict:
    """Decodes and encodes every photo once, a shard at a time, and writes an index with the standardisation of the train split.

    Resumable: a shard that is whole is kept. Returns the index (shards with their hashes, token shape, skipped images with reasons), and
    beside it "photos_per_second", of decoding and encoding together, or null if nothing was left to do.
    """
    shards, skipped, done, seconds = [], {}, 0, 0.0
    for start in range(0, len(images), shard_size):
        path = folder / f"shard-{start // shard_size:05d}.safetensors"
        chunk = images[start : start + shard_size]
        if not path.exists():
            started = time.perf_counter()
            skipped_here = _encode_shard(
                chunk, sources, encoder, path, batch_size, on_bad_image, f"encode photos {start}-{start + len(chunk)}"
            )
            done, seconds = done + len(chunk), seconds + time.perf_counter() - started
            write_json(path.with_suffix(".skipped.json"), skipped_here)
        skipped |= read_json(path.with_suffix(".skipped.json"))
        shards.append({"file": path.name, "sha256": sha256(path)})
    train = {image.image_id for image in images if image.split == "train"}
    statistics = _train_statistics([folder / shard["file"] for shard in shards], train)
    write_tensors(folder / "statistics.safetensors", statistics)
    with safe_open(folder / shards[0]["file"], "pt") as file:
        shape = file.get_slice("tokens").get_shape()
    index = {"shards": shards, "tokens": shape[1], "channels": shape[2], "skipped": skipped}
    write_json(folder / INDEX, index)
    return index | {"photos_per_second": round(done / seconds, 1) if done else None}


def _encode_shard(chunk, sources, encoder: Encoder, path: Path, batch_size: int, on_bad_image: str, description: str) -> dict[str, str]:
    ids, tokens, pooled, skipped, pending = [], [], [], {}, []

    def flush() -> None:
        if pending:
            tokens_BNC, pooled_BE = encoder(torch.stack([pixels for _, pixels in pending]))
            tokens.append(tokens_BNC.half())
            pooled.append(pooled_BE.half())
            ids.extend(image_id for image_id, _ in pending)
            pending.clear()

    for image in progress(chunk, description, "photo"):
        try:
            photo = decode(sources[image.source].read(image.file_name), f"{image.source}/{image.file_name} (image id {image.image_id})")
            pending.append((image.image_id, encoder.preprocess(photo)))
        except BadImage as error:
            if on_bad_image == "error":
                raise BadImage(f"{error}. Repair or remove the photo, or set encoder.on_bad_image: skip") from None
            skipped[str(image.image_id)] = str(error)
        if len(pending) == batch_size:
            flush()
    flush()
    if not ids:
        raise UserError(f"{description}: no photo of {len(chunk)} could be decoded; first: {next(iter(skipped.values()))}")
    write_tensors(path, {"ids": torch.tensor(ids), "tokens": torch.cat(tokens), "pooled": torch.cat(pooled)})
    return skipped


def _train_statistics(shards: Iterable[Path], train: set[int]) -> dict[str, Tensor]:
    """Mean and standard deviation of each channel over all tokens of the train images, in float64."""
    total = squares = 0.0
    count = 0
    for path in shards:
        tensors, _ = read_tensors(path)
        mine = torch.tensor([i in train for i in tensors["ids"].tolist()])
        values = tensors["tokens"][mine].double().flatten(0, 1)
        total, squares, count = total + values.sum(0), squares + values.square().sum(0), count + len(values)
    mean = total / count
    return {"mean": mean.float(), "std": (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-4).float()}


class FeatureStore:
    """Reads standardised features of any images by id; shards stay memory-mapped."""

    def __init__(self, folder: Path):
        self.folder = folder
        index = read_json(folder / INDEX)
        self.tokens, self.channels = index["tokens"], index["channels"]
        statistics, _ = read_tensors(folder / "statistics.safetensors")
        self.mean, self.std = statistics["mean"], statistics["std"]
        self._files, self._pooled, self._row_of = [], [], {}
        for number, shard in enumerate(index["shards"]):
            file = safe_open(folder / shard["file"], "pt").__enter__()  # held open as long as the store: rows are read when asked for
            self._files.append(file.get_slice("tokens"))
            self._pooled.append(file.get_slice("pooled"))
            self._row_of |= {image_id: (number, row) for row, image_id in enumerate(file.get_tensor("ids").tolist())}

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._row_of

    def read(self, image_ids: Sequence[int]) -> Tensor:
        """Standardised tokens [B, N, C] as float32."""
        return self.standardised(self._rows(self._files, image_ids))

    def read_pooled(self, image_ids: Sequence[int]) -> Tensor:
        """The encoder's unit vectors [B, E] as float32."""
        return self._rows(self._pooled, image_ids).float()

    def _rows(self, files: Sequence, image_ids: Sequence[int]) -> Tensor:
        for image_id in image_ids:
            if image_id not in self:
                raise UserError(f"{self.folder}: no features of image id {image_id}")
        return torch.stack([files[number][row] for number, row in map(self._row_of.get, image_ids)])

    def standardised(self, tokens_BNC: Tensor) -> Tensor:
        """Raw tokens on the scale of those that `read` gives."""
        return (tokens_BNC.float() - self.mean) / self.std


def pixels_of(images: Sequence[CaptionedImage], sources: dict[str, PhotoSource]) -> Tensor:
    """Decoded photos of equal size, uint8 [n, H, W, 3]: for training an encoder on them."""
    arrays = []
    for image in progress(images, "decode photos", "photo"):
        photo: Image.Image = decode(sources[image.source].read(image.file_name), f"{image.file_name} (image id {image.image_id})")
        arrays.append(np.asarray(photo))
    return torch.from_numpy(np.stack(arrays))
