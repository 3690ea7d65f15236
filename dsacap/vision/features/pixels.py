"""Photos as pixels on disk, for an encoder that is trained together with its captioner.

The features of such an encoder change with its weights, so they cannot be kept. Pixels are kept the
way features are: in shards, 8 bits a channel, decoded and resized once to the encoder's input size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json, write_tensors
from dsacap.vision.features.shards import (
    Batches,
    PhotoReader,
    PhotoSet,
    file_hashes,
    skipped_in,
    write_shards,
)
from dsacap.vision.features.store import INDEX, FeatureStore
from dsacap.vision.features.views import mentions_sides, random_frame

if TYPE_CHECKING:
    from dsacap.vision.encoders.base import Encoder

_VIEWS = 2**31  # practically unlimited, since every view is drawn when it is read
_WHOLE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # the frame of the whole photo


class PixelSize(NamedTuple):
    """The size of pixels on disk: 24 bits each, and 9 bytes per image for its id and a flag."""

    images: int
    height: int
    width: int

    @property
    def bytes(self) -> int:
        """The size in bytes, without the headers of files."""
        return self.images * (3 * self.height * self.width + 9)

    def __str__(self) -> str:
        return (
            f"{self.images:,} photos x {self.height} x {self.width} pixels of 24 bits:"
            f" {self.bytes / 1e9:.2f} GB"
        )


def store_pixels(photos: PhotoSet, encoder: Encoder, folder: Path) -> dict:
    """Decode every photo once, to pixels of the encoder's input size.

    As with `encode_photos`, the size on disk is printed and checked first, and an interrupted run
    can be resumed.

    Args:
        photos: The photos, with their captions.
        encoder: The encoder that will take the pixels.
        folder: Where the pixels go.

    Returns:
        The index (shards with their hashes, height and width, skipped images with reasons), and
        `photos_per_second`, or None if no shard was missing.

    Raises:
        UserError: A photo cannot be read, the disk has too little space, or the encoder's pixels
            cannot be kept in 8 bits (see `Encoder.to_bytes`).
    """
    sided = {image.image_id for image in photos.images if mentions_sides(image)}
    reader = PhotoReader(photos, encoder.to_bytes, encoder.image_size)
    size = partial(PixelSize, height=encoder.image_size[0], width=encoder.image_size[1])
    paths, photos_per_second = write_shards(
        "pixels", reader, folder, size, partial(_write_shard, sided=sided)
    )
    index = {"shards": file_hashes(paths), "size": encoder.image_size, "skipped": skipped_in(paths)}
    write_json(folder / INDEX, index)
    return index | {"photos_per_second": photos_per_second}


def _write_shard(batches: Batches, path: Path, sided: set[int]) -> None:
    ids: list[int] = []
    pixels: list[Tensor] = []
    for batch_ids, pixels_B13HW in batches:
        ids += batch_ids
        pixels.append(pixels_B13HW[:, 0])
    is_sided = torch.tensor([image_id in sided for image_id in ids])
    write_tensors(path, {"ids": torch.tensor(ids), "sided": is_sided, "pixels": torch.cat(pixels)})


class Rows(NamedTuple):
    """Pixels of a batch, before they are encoded.

    Attributes:
        pixels: Whole photos (batch, 3, height, width) as uint8.
        frames: The view of each photo (batch, 2, 3), as `random_frame` returns it; None if all
            photos are used whole.
    """

    pixels: Tensor
    frames: Tensor | None


class PixelFeatures:
    """Reader of features with the interface of FeatureStore, which encodes pixels on every read.

    The encoder may be trained, and its weights may have changed since features were stored.
    Features are standardised with the statistics of the frozen encoder's features.

    Attributes:
        folder: Where the pixels are.
        frozen_store: Features of the frozen encoder, for their statistics.
        encoder: The encoder, without its text tower.
        drawn: Whether a training step gets a new random crop of each photo.
    """

    def __init__(
        self, folder: Path, frozen_store: FeatureStore, encoder: Encoder, drawn: bool = False
    ):
        """Map the shards of `folder`, and raise UserError if it has no pixels."""
        self.folder, self.frozen_store, self.drawn = folder, frozen_store, drawn
        self.encoder = encoder.for_photos_alone().to(memory_format=torch.channels_last)
        if not (folder / INDEX).exists():
            raise UserError(
                f"{folder}: no pixels, which training.fine_tune needs; run `dsacap pixels` with the"
                " same --config first"
            )
        files = [
            safe_open(folder / shard["file"], "pt").__enter__()
            for shard in read_json(folder / INDEX)["shards"]
        ]
        # Pages of a mapped tensor are read from disk when its rows are used.
        self._mapped = [file.get_tensor("pixels") for file in files]
        self._row_of: dict[int, tuple[int, int]] = {}
        self._sided: set[int] = set()
        for number, file in enumerate(files):
            ids, sided = file.get_tensor("ids"), file.get_tensor("sided")
            self._row_of |= {image_id: (number, row) for row, image_id in enumerate(ids.tolist())}
            self._sided |= set(ids[sided].tolist())

    @property
    def views(self) -> int:
        """Views per image: view 0 is the whole photo, the others are random crops."""
        return _VIEWS if self.drawn else 1

    @torch.no_grad()
    def read(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Encode images without gradients.

        Args:
            image_ids: The images of the batch.
            views: The view of each image id; None for the whole photos.
            device: The encoder's device.

        Returns:
            Standardised tokens (batch, tokens, channels) as float32.

        Raises:
            UserError: An image has no pixels.
        """
        return self.features(self.rows(image_ids, views, device), device)

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Rows:
        """Read pixels and draw frames on the CPU, which another thread can do ahead.

        Args:
            image_ids: As for `read`.
            views: As for `read`.
            device: Where the pixels will go; for a GPU, they are put in pinned memory.

        Raises:
            UserError: An image has no pixels.
        """
        for image_id in image_ids:
            if image_id not in self._row_of:
                raise UserError(
                    f"{self.folder}: no pixels of image id {image_id}; its photo was skipped (see"
                    f" {INDEX}), or the data set does not contain it"
                )
        pixels = torch.stack(
            [self._mapped[shard][row] for shard, row in map(self._row_of.__getitem__, image_ids)]
        )
        frames = None
        if views and any(views[i] for i in image_ids):
            frames = torch.tensor(
                [
                    random_frame(i, views[i], i in self._sided) if views[i] else _WHOLE
                    for i in image_ids
                ]
            )
        if torch.device(device).type == "cuda":
            return Rows(pixels.pin_memory(), None if frames is None else frames.pin_memory())
        return Rows(pixels, frames)

    def features(self, rows: Rows, device: torch.device | str) -> Tensor:
        """Encode what `rows` read, on `device`: the rest of `read`.

        Args:
            rows: Pixels and frames.
            device: The encoder's device.

        Returns:
            Standardised tokens (batch, tokens, channels), with gradients if the encoder is trained.
        """
        pixels_B3HW = rows.pixels.to(device, non_blocking=True, memory_format=torch.channels_last)
        if rows.frames is not None:
            grid_BHW2 = F.affine_grid(
                rows.frames.to(device, non_blocking=True),
                list(pixels_B3HW.shape),
                align_corners=False,
            )
            pixels_B3HW = F.grid_sample(
                pixels_B3HW.float(), grid_BHW2, padding_mode="border", align_corners=False
            )
        tokens_BNC, _ = self.encoder.encode(self.encoder.from_bytes(pixels_B3HW))
        return self.standardised(tokens_BNC)

    def standardised(self, tokens_BNC: Tensor) -> Tensor:
        """Bring the encoder's tokens (batch, tokens, channels) to the scale of `read`."""
        return self.frozen_store.standardised(tokens_BNC)
