"""Features that the user has, in the forms in which others publish them.

A folder has one .npz file per image, all named by image id or all like the photos, as xmodaler,
OpenAI-CLIP-Feature and bottom-up-attention write them. An .h5 file has one dataset per image, named
by its id or `ID_features`, or all images in arrays `features` and `image_ids`. They are written in
the form of `encode_photos`, so that all that follows is the same.

Every image needs as many tokens: a mask would have to reach the attention of every system, so
regions of varying number (bottom-up's 10 to 100) are refused, and those of a fixed number (36) or
of a grid are read.
"""

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dsacap.common.errors import UserError
from dsacap.common.extras import naming_extras
from dsacap.common.files import write_tensors
from dsacap.data.coco import CaptionedImage
from dsacap.data.json_fields import few
from dsacap.vision.features.encode import FeatureSize, finished
from dsacap.vision.features.shards import PhotoSet, write_shards

_TOKENS = ("features", "feat", "x")  # xmodaler; ImageCaptioning.pytorch; bottom-up-attention
_POOLED = ("g_feature", "g_feat", "global")
_READ_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Given(NamedTuple):
    """Features of an image.

    Attributes:
        tokens: Of shape `(tokens, channels)`.
        pooled: One vector of the whole image `(width)`; None if there is none.
    """

    tokens: np.ndarray
    pooled: np.ndarray | None


class Source(ABC):
    """Where features are read from."""

    @abstractmethod
    def absent(self, images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
        """Return the images that have no features."""

    @abstractmethod
    def read(self, image: CaptionedImage) -> tuple[np.ndarray, np.ndarray | None, str]:
        """Return the stored tokens and pooled vector, and their place for messages."""

    @abstractmethod
    def looked_for(self, image: CaptionedImage) -> str:
        """Say by which names an image's features are looked for, and which names there are."""


def import_features(
    photos: PhotoSet, path: Path, folder: Path, dtype: torch.dtype = torch.float16
) -> dict:
    """Read the features of every image, and write them as `encode_photos` does.

    Args:
        photos: The images, and how many go in a shard and in a batch.
        path: The folder of .npz files, or the .h5 file.
        folder: Where the features go.
        dtype: Their type on disk: float16 or bfloat16.

    Returns:
        The index; see `encode_photos`.

    Raises:
        UserError: Features are absent, damaged, or of another shape than those of other images.
    """
    with ExitStack() as stack:
        source = _source(path, photos.images, stack)
        if absent := source.absent(photos.images):
            names = few([f"{image.image_id} ({image.file_name})" for image in absent])
            raise UserError(
                f"{path}: {len(absent):,} of {len(photos.images):,} images have no features here:"
                f" {names}; {source.looked_for(absent[0])}"
            )
        first = _checked(source, photos.images[0], None)
        reader = FeatureReader(photos, source, first)
        tokens, channels = first.tokens.shape
        width = channels if first.pooled is None else len(first.pooled)
        paths, _ = write_shards(
            "features",
            reader,
            folder,
            lambda count: FeatureSize(count, 1, tokens, channels, width),
            partial(_write_shard, dtype=dtype),
        )
        return finished(folder, photos, paths, views=1)


class FeatureReader:
    """Reader of features in batches, in place of a `PhotoReader`.

    Attributes:
        photos: The images.
    """

    def __init__(self, photos: PhotoSet, source: Source, first: Given):
        """Read features from `source`; all must have the shape of `first`."""
        self.photos, self._source, self._first = photos, source, first

    def batches(
        self, images: Sequence[CaptionedImage], path: Path, skipped: dict[str, str], bar: tqdm
    ) -> Iterator[tuple[list[int], tuple[Tensor, Tensor]]]:
        """Yield image ids, with their tokens (batch, tokens, channels) and pooled unit vectors."""
        for at in range(0, len(images), self.photos.batch_size):
            batch = images[at : at + self.photos.batch_size]
            given = [_checked(self._source, image, self._first) for image in batch]
            tokens_BNC = torch.from_numpy(np.stack([one.tokens for one in given]))
            pooled_BE = torch.from_numpy(
                np.stack(
                    [one.tokens.mean(0) if one.pooled is None else one.pooled for one in given]
                )
            )
            pooled_BE = torch.nn.functional.normalize(pooled_BE, dim=-1)
            yield [image.image_id for image in batch], (tokens_BNC, pooled_BE)
            bar.update(len(batch))


def _write_shard(
    batches: Iterator[tuple[list[int], tuple[Tensor, Tensor]]], path: Path, dtype: torch.dtype
) -> None:
    ids: list[int] = []
    parts: dict[str, list[Tensor]] = {"tokens": [], "pooled": []}
    for batch_ids, values in batches:
        ids += batch_ids
        for part, value in zip(parts.values(), values, strict=True):
            part.append(value.to(dtype))
    joined = {name: torch.cat(part) for name, part in parts.items()}
    fit = joined["tokens"].isfinite().flatten(1).all(1) & joined["pooled"].isfinite().all(1)
    if unfit := (~fit).nonzero().flatten().tolist():
        raise UserError(
            f"features of image id {ids[unfit[0]]}: have values that are not finite, or that"
            f" {dtype} cannot hold; set encoder.dtype: bfloat16, or make these features again"
        )
    write_tensors(path, {"ids": torch.tensor(ids), **joined})


def _checked(source: Source, image: CaptionedImage, first: Given | None) -> Given:
    """Return an image's features as float32, of the shape of the `first`."""
    tokens, pooled, where = source.read(image)
    for name, values in (("features have", tokens), ("the pooled vector has", pooled)):
        if values is not None and values.dtype.kind != "f":
            raise UserError(f"{where}: {name} type {values.dtype}; save them as floats")
    if tokens.ndim == 3:  # rows and columns of a grid
        tokens = tokens.reshape(-1, tokens.shape[-1])
    if tokens.ndim != 2 or not tokens.size:
        raise UserError(
            f"{where}: features have shape {tokens.shape}; (tokens, channels) or (rows, columns,"
            " channels) is needed"
        )
    vector = None if pooled is None else pooled.astype(np.float32).reshape(-1)
    if first is not None:
        if tokens.shape != first.tokens.shape:
            raise UserError(
                f"{where}: {_size(tokens)}, but {_size(first.tokens)} in the first image; every"
                " image needs as many tokens: take features of a grid, or a fixed number of regions"
            )
        if (vector is None) != (first.pooled is None) or (
            vector is not None and first.pooled is not None and len(vector) != len(first.pooled)
        ):
            raise UserError(
                f"{where}: the pooled vector is absent or of another length than in the first"
                " image; make these features again"
            )
    return Given(tokens.astype(np.float32), vector)


def _size(tokens: np.ndarray) -> str:
    return f"{tokens.shape[0]} tokens of {tokens.shape[1]} channels"


def _source(path: Path, images: Sequence[CaptionedImage], stack: ExitStack) -> Source:
    if path.is_dir():
        return _Npz(path, images)
    if not path.exists():
        raise UserError(f"encoder.features: {path}: no such folder or file")
    if path.suffix.lower() not in (".h5", ".hdf5"):
        raise UserError(
            f"encoder.features: {path}: is neither a folder of .npz files nor an .h5 file"
        )
    with naming_extras():
        import h5py
    try:
        return _H5(path, stack.enter_context(h5py.File(path, "r")))
    except OSError as error:
        raise UserError(f"{path}: not HDF5, or damaged ({error}); fetch it again") from None


class _Npz(Source):
    def __init__(self, folder: Path, images: Sequence[CaptionedImage]) -> None:
        self.folder = folder
        self.names = {path.name for path in folder.iterdir()}
        by_id = {image.image_id: f"{image.image_id}.npz" for image in images}
        by_photo = {image.image_id: f"{Path(image.file_name).stem}.npz" for image in images}
        # One of them for all images: with photos 0.jpg, 1.jpg, ... and ids 1, 2, ..., a file of one
        # image could otherwise be taken for another's.
        self.both = by_id, by_photo
        self.name_of = min(self.both, key=lambda named: len(set(named.values()) - self.names))
        doubtful = [i for i in by_id if by_id[i] != by_photo[i]]
        if doubtful and all(self.names.issuperset(named.values()) for named in self.both):
            one, other = (named[doubtful[0]] for named in self.both)
            raise UserError(
                f"{folder}: image id {doubtful[0]} may be {one} by its id, or {other} by its photo;"
                " leave only the files that are meant"
            )

    def absent(self, images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
        return [image for image in images if self.name_of[image.image_id] not in self.names]

    def looked_for(self, image: CaptionedImage) -> str:
        one, other = (named[image.image_id] for named in self.both)
        return f"they would be in {one} or {other}, and the folder has {_some(sorted(self.names))}"

    def read(self, image: CaptionedImage) -> tuple[np.ndarray, np.ndarray | None, str]:
        path = self.folder / self.name_of[image.image_id]
        where = f"{path} (image id {image.image_id})"
        try:
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise ValueError("it has one array without a name, as .npy files have")
            with loaded as arrays:
                if (key := _first_of(_TOKENS, arrays)) is None:
                    raise UserError(
                        f"{where}: has {_some(arrays)}, and none of {', '.join(_TOKENS)}, by which"
                        " features are known; save them as `features`"
                    )
                pooled = _first_of(_POOLED, arrays)
                return arrays[key], arrays[pooled] if pooled else None, where
        except _READ_ERRORS as error:
            raise UserError(f"{where}: cannot be read ({error}); make it again") from None


class _H5(Source):
    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.row_of: dict[int, int] | None = None
        if "features" in file and "image_ids" in file:
            self.row_of = self._rows()

    def _rows(self) -> dict[int, int]:
        ids = np.asarray(self.file["image_ids"]).reshape(-1)
        try:
            if ids.dtype.kind in "OS":
                ids = ids.astype(np.int64)  # texts such as "42"
            numbers = ids.astype(np.int64, casting="same_kind").tolist()
        except (TypeError, ValueError):
            raise UserError(
                f"{self.path}: image_ids has {_some(ids.tolist())}; save the ids of the data set,"
                " as whole numbers"
            ) from None
        for name in ("features", *_POOLED):
            if name not in self.file:
                continue
            shape = getattr(self.file[name], "shape", ())
            if shape[:1] != (len(ids),):
                count = f"{shape[0]:,} images" if shape else "no array of images"
                raise UserError(
                    f"{self.path}: {len(ids):,} image_ids, but {name} of {count}; make the file"
                    " again"
                )
        if len(set(numbers)) != len(numbers):
            raise UserError(f"{self.path}: an id occurs twice in image_ids; make the file again")
        return {number: row for row, number in enumerate(numbers)}

    def absent(self, images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
        if self.row_of is None:
            return [image for image in images if self._key(image) is None]
        return [image for image in images if image.image_id not in self.row_of]

    def looked_for(self, image: CaptionedImage) -> str:
        if self.row_of is not None:
            return f"image_ids has {_some(map(str, self.row_of))}"
        one, other = self._keys(image)
        return (
            f"they would be in data sets {one} or {other}, or in arrays features and image_ids, and"
            f" the file has {_some(self.file)}"
        )

    def _keys(self, image: CaptionedImage) -> tuple[str, str]:
        return str(image.image_id), f"{image.image_id}_features"

    def _key(self, image: CaptionedImage) -> str | None:
        return next((key for key in self._keys(image) if key in self.file), None)

    def read(self, image: CaptionedImage) -> tuple[np.ndarray, np.ndarray | None, str]:
        where = f"{self.path} (image id {image.image_id})"
        try:
            if self.row_of is None:
                stored = self.file[self._key(image)]
                if not hasattr(stored, "shape"):
                    raise ValueError(f"a group of {_some(stored)}, and no data set")
                return np.asarray(stored), None, where
            row = self.row_of[image.image_id]
            pooled = _first_of(_POOLED, self.file)
            return self.file["features"][row], self.file[pooled][row] if pooled else None, where
        except _READ_ERRORS as error:
            raise UserError(f"{where}: cannot be read ({error}); make it again") from None


def _first_of(names: Sequence[str], arrays: Any) -> str | None:
    return next((name for name in names if name in arrays), None)


def _some(names: Iterable[object]) -> str:
    """The first names, or nothing."""
    first = [str(name) for name in islice(names, 4)]
    return ", ".join([*first[:3], *(["..."] if len(first) > 3 else [])]) or "nothing"
