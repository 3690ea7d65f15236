"""Photos decoded by worker processes, and what is made of them written a shard at a time: features (encode.py) or pixels (pixels.py)."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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

Batches = Iterator[
    tuple[list[int], Tensor]
]  # image ids, and pixels [B, views, ...] as `preprocess` gives them


@dataclass(frozen=True)
class Reading:
    """How photos are read: `preprocess` makes an array of a photo; `views` - 1 parts of it of `image_size` stand beside it; `workers`
    processes decode, beside this one; `on_bad_image` is error or skip."""

    sources: dict[str, PhotoSource]
    preprocess: Callable[[Image.Image], Tensor]
    image_size: tuple[int, int]
    batch_size: int
    on_bad_image: str
    views: int = 1
    workers: int = 0

    def batches(
        self, images: Sequence[CaptionedImage], path: Path, skipped: dict[str, str], bar: tqdm
    ) -> Batches:
        """Of the images of the shard `path`. What could not be decoded is added to `skipped`, with the reason, or raised."""
        some = False
        loader = DataLoader(
            _Photos(images, self), self.batch_size, collate_fn=_collated, num_workers=self.workers
        )
        for ids, pixels, bad in _while_workers_live(loader, path):
            for image_id, error in bad.items():
                if not isinstance(error, BadImage):
                    raise error
                if self.on_bad_image == "error":
                    raise BadImage(
                        f"{error}. Repair or remove the photo, or set encoder.on_bad_image: skip"
                    )
                skipped[str(image_id)] = str(error)
            if ids:
                some = True
                yield ids, pixels
            bar.update(len(ids) + len(bad))
        if not some:
            raise UserError(
                f"{path}: no photo of {len(skipped)} could be decoded; first: {next(iter(skipped.values()))}"
            )


def write_shards(
    what: str,
    images: Sequence[CaptionedImage],
    reading: Reading,
    folder: Path,
    shard_size: int,
    size: Callable[[int], object],
    write: Callable[[Batches, Path], None],
) -> tuple[list[Path], float | None]:
    """Lets `write` make a shard of each `shard_size` images. Resumable: a shard that is whole is kept.

    `size(photos)` says, as text and as `.bytes`, what so many photos take: told, and checked, before anything is written; how long it will
    take is told after the first shard. Returns the shards, and photos a second, or None if nothing was left to do.
    """
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
            started, skipped = time.perf_counter(), {}
            write(reading.batches(chunks[number], paths[number], skipped, bar), paths[number])
            write_json(_skipped_of(paths[number]), skipped)
            done, seconds = done + len(chunks[number]), seconds + time.perf_counter() - started
            if number == missing[0] and left > done:
                minutes = (left - done) * seconds / done / 60
                print(
                    f"{what}: {done / seconds:.1f} photos/s in the first shard, so {minutes:.0f} minutes more",
                    file=sys.stderr,
                )
    return paths, round(done / seconds, 1) if done else None


def skipped_in(paths: Iterable[Path]) -> dict[str, str]:
    """Image id -> what was wrong with it, of shards."""
    return {
        image_id: reason
        for path in paths
        for image_id, reason in read_json(_skipped_of(path)).items()
    }


def hashed(paths: Iterable[Path]) -> list[dict[str, str]]:
    """As an index names shards."""
    return [{"file": path.name, "sha256": sha256(path)} for path in paths]


def _while_workers_live(loader: DataLoader, path: Path) -> Iterator:
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"{path}: a process that decodes photos was ended, as for want of memory ({str(error).splitlines()[0][:120]}); "
            "set encoder.workers lower, and run the same command again: it goes on from this shard"
        ) from None


def _skipped_of(path: Path) -> Path:
    return path.with_suffix(".skipped.json")


class _Photos(Dataset):
    """Image id and the preprocessed views of a photo [views, ...], or what is wrong with it."""

    def __init__(self, images: Sequence[CaptionedImage], reading: Reading):
        self.images, self.reading = images, reading

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[int, Tensor | UserError]:
        image, reading = self.images[at], self.reading
        name = f"{image.source}/{image.file_name} (image id {image.image_id})"
        try:
            photo = decode(reading.sources[image.source].read(image.file_name), name)
        except UserError as error:  # raised in the main process, so that its message is not wrapped in the worker's
            return image.image_id, error
        views = [
            photo,
            *(
                augmented(photo, image, view, reading.image_size)
                for view in range(1, reading.views)
            ),
        ]
        return image.image_id, torch.stack([reading.preprocess(view) for view in views])


def _collated(
    items: Sequence[tuple[int, Tensor | UserError]],
) -> tuple[list[int], Tensor | None, dict[int, UserError]]:
    """Ids and pixels [B, views, ...] of the photos that could be decoded, and what is wrong with the others."""
    good = [(image_id, pixels) for image_id, pixels in items if isinstance(pixels, Tensor)]
    bad = {image_id: error for image_id, error in items if isinstance(error, UserError)}
    return (
        [image_id for image_id, _ in good],
        torch.stack([pixels for _, pixels in good]) if good else None,
        bad,
    )
