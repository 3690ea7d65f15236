"""Shards of features (encode.py) or pixels (pixels.py), made from photos that workers decode."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dsacap.common.disk import check_room
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, sha256, write_json
from dsacap.common.progress import progress
from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import BadImage, PhotoSource, decode
from dsacap.vision.features.views import augmented

# Image ids, and pixels (batch, views, ...) as `PhotoReader.preprocess` returns them.
Batches = Iterator[tuple[list[int], Tensor]]


class DiskSize(Protocol):
    """The space that shards take on disk, which can be printed."""

    @property
    def bytes(self) -> int:
        """The size in bytes."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos to decode, and how to.

    Attributes:
        images: The images, in the order of the shards.
        sources: Where photos are read from, by the name of the source.
        batch_size: Photos per batch.
        shard_size: Photos per shard.
        on_bad_image: What to do with a photo that cannot be decoded: `error` or `skip`.
        workers: Processes that decode photos; with 0, the main process decodes them.
    """

    images: Sequence[CaptionedImage]
    sources: dict[str, PhotoSource]
    batch_size: int
    shard_size: int
    on_bad_image: str
    workers: int = 0


class Reader(Protocol):
    """Reads what belongs to images, a shard at a time."""

    @property
    def photos(self) -> PhotoSet:
        """The images."""

    def batches(
        self, images: Sequence[CaptionedImage], path: Path, skipped: dict[str, str], bar: tqdm
    ) -> Iterator[tuple[list[int], Any]]:
        """See `PhotoReader.batches`."""


@dataclass(frozen=True)
class PhotoReader:
    """Decoder of photos in batches.

    Attributes:
        photos: The photos.
        preprocess: Turns a photo into an array.
        image_size: Height and width of a view that is a crop.
        views: Arrays per photo: one of the whole photo, the others of random crops.
    """

    photos: PhotoSet
    preprocess: Callable[[Image.Image], Tensor]
    image_size: tuple[int, int]
    views: int = 1

    def batches(
        self, images: Sequence[CaptionedImage], path: Path, skipped: dict[str, str], bar: tqdm
    ) -> Batches:
        """Decode the images of one shard.

        Args:
            images: The images.
            path: The shard, for messages.
            skipped: Takes the id of each image that cannot be decoded, with the reason.
            bar: The progress bar, which counts photos.

        Yields:
            Image ids, and their pixels (batch, views, ...).

        Raises:
            BadImage: A photo cannot be decoded, and `on_bad_image` is `error`.
            UserError: A photo is missing, no photo can be decoded, or a worker was killed.
        """
        any_decoded = False
        loader = DataLoader(
            _Photos(images, self),
            self.photos.batch_size,
            collate_fn=_collated,
            num_workers=self.photos.workers,
        )
        for ids, pixels, bad in _while_workers_live(loader, path):
            for image_id, error in bad.items():
                if not isinstance(error, BadImage):
                    raise error
                if self.photos.on_bad_image == "error":
                    raise BadImage(
                        f"{error}. Repair or remove the photo, or set encoder.on_bad_image: skip"
                    )
                skipped[str(image_id)] = str(error)
            if ids:
                any_decoded = True
                yield ids, pixels
            bar.update(len(ids) + len(bad))
        if not any_decoded:
            raise UserError(
                f"{path}: none of {len(skipped)} photos could be decoded; the first problem is:"
                f" {next(iter(skipped.values()))}"
            )


def write_shards(
    what: str,
    reader: Reader,
    folder: Path,
    size: Callable[[int], DiskSize],
    write: Callable[[Any, Path], None],
) -> tuple[list[Path], float | None]:
    """Write the shards of some photos, each with a list of the images that were skipped.

    Complete shards are kept, so an interrupted run can be resumed. The size on disk is printed and
    checked before anything is written; the remaining time is printed after the first shard.

    Args:
        what: What is made, for messages and the progress bar.
        reader: Decodes the photos, or reads what was made of them.
        folder: Where the shards go.
        size: Returns the size on disk of a number of photos.
        write: Writes one shard from its batches.

    Returns:
        The paths of all shards; and the photos per second of this run, or None if no shard was
        missing.

    Raises:
        UserError: The disk has too little space, or decoding failed (see `PhotoReader.batches`).
    """
    images, shard_size = reader.photos.images, reader.photos.shard_size
    chunks = [images[start : start + shard_size] for start in range(0, len(images), shard_size)]
    paths = [folder / f"shard-{number:05d}.safetensors" for number in range(len(chunks))]
    missing = [
        number
        for number, path in enumerate(paths)
        if not (path.exists() and _skipped_of(path).exists())
    ]
    left = sum(len(chunks[number]) for number in missing)
    if missing:
        needed = size(left)
        print(f"{what}: {needed} to write in {folder}", file=sys.stderr)
        check_room({folder: needed.bytes})
    done, seconds = 0, 0.0
    with progress(None, what, "photo", total=len(images), initial=len(images) - left) as bar:
        for number in missing:
            started = time.perf_counter()
            skipped: dict[str, str] = {}
            write(reader.batches(chunks[number], paths[number], skipped, bar), paths[number])
            write_json(_skipped_of(paths[number]), skipped)
            done, seconds = done + len(chunks[number]), seconds + time.perf_counter() - started
            if number == missing[0] and left > done:
                minutes = (left - done) * seconds / done / 60
                print(
                    f"{what}: {done / seconds:.1f} photos/s in the first shard, so about"
                    f" {minutes:.0f} more minutes",
                    file=sys.stderr,
                )
    return paths, round(done / seconds, 1) if done else None


def skipped_in(paths: Iterable[Path]) -> dict[str, str]:
    """Return why images of some shards were skipped, by image id."""
    return {
        image_id: reason
        for path in paths
        for image_id, reason in read_json(_skipped_of(path)).items()
    }


def file_hashes(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Return the name and sha256 of files, as an index lists shards."""
    return [{"file": path.name, "sha256": sha256(path)} for path in paths]


def _while_workers_live(loader: DataLoader, path: Path) -> Iterator:
    """Yield a loader's batches, and raise UserError if one of its processes is killed."""
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"{path}: a process that decodes photos was killed, probably because memory ran out"
            f" ({str(error).splitlines()[0][:120]}); set encoder.workers lower, and run the same"
            " command again: it resumes at this shard"
        ) from None


def _skipped_of(path: Path) -> Path:
    return path.with_suffix(".skipped.json")


class _Photos(Dataset):
    """Items are an image id with the preprocessed views (views, ...), or with the error."""

    def __init__(self, images: Sequence[CaptionedImage], reader: PhotoReader):
        self.images, self.reader = images, reader

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[int, Tensor | UserError]:
        image, reader = self.images[at], self.reader
        name = f"{image.source}/{image.file_name} (image id {image.image_id})"
        try:
            photo = decode(reader.photos.sources[image.source].read(image.file_name), name)
        except UserError as error:
            # The main process raises it, so that the worker does not wrap its message.
            return image.image_id, error
        views = [
            photo,
            *(augmented(photo, image, view, reader.image_size) for view in range(1, reader.views)),
        ]
        return image.image_id, torch.stack([reader.preprocess(view) for view in views])


def _collated(
    items: Sequence[tuple[int, Tensor | UserError]],
) -> tuple[list[int], Tensor | None, dict[int, UserError]]:
    """Return ids and pixels (batch, views, ...) of decoded photos, and the errors of the others."""
    good = [(image_id, pixels) for image_id, pixels in items if isinstance(pixels, Tensor)]
    bad = {image_id: error for image_id, error in items if isinstance(error, UserError)}
    return (
        [image_id for image_id, _ in good],
        torch.stack([pixels for _, pixels in good]) if good else None,
        bad,
    )
