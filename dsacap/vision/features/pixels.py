"""Photos as pixels, for an encoder that is trained along with its captioner: no features can be kept of it, for they move with its weights.

Pixels are kept as features are: in shards, 8 bits a channel, at the size that the encoder looks at, decoded and scaled down once.
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
from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import PhotoSource
from dsacap.vision.features.shards import Batches, Reading, hashed, skipped_in, write_shards
from dsacap.vision.features.store import INDEX, FeatureStore
from dsacap.vision.features.views import drawn_frame, is_sided

if TYPE_CHECKING:
    from dsacap.vision.encoders.base import Encoder

_VIEWS = 2**31  # as many as there may be
_WHOLE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # a frame


class PixelSize(NamedTuple):
    """What the pixels of some photos take on disk."""

    images: int
    height: int
    width: int

    @property
    def bytes(self) -> int:
        return self.images * (3 * self.height * self.width + 9)

    def __str__(self) -> str:
        return f"{self.images:,} photos x {self.height} x {self.width} pixels of 24 bits: {self.bytes / 1e9:.2f} GB"


def store_pixels(
    images: Sequence[CaptionedImage],
    sources: dict[str, PhotoSource],
    encoder: Encoder,
    folder: Path,
    *,
    batch_size: int,
    shard_size: int,
    on_bad_image: str,
    workers: int = 0,
) -> dict:
    """Decodes every photo once, to what the encoder looks at. As `encode_photos`: told and checked before, resumable, an index returned."""
    sided = {image.image_id for image in images if is_sided(image)}
    reading = Reading(
        sources, encoder.to_bytes, encoder.image_size, batch_size, on_bad_image, workers=workers
    )
    size = partial(PixelSize, height=encoder.image_size[0], width=encoder.image_size[1])
    paths, photos_per_second = write_shards(
        "pixels", images, reading, folder, shard_size, size, partial(_write_shard, sided=sided)
    )
    index = {"shards": hashed(paths), "size": encoder.image_size, "skipped": skipped_in(paths)}
    write_json(folder / INDEX, index)
    return index | {"photos_per_second": photos_per_second}


def _write_shard(batches: Batches, path: Path, sided: set[int]) -> None:
    ids, pixels = [], []
    for ids_here, pixels_B13HW in batches:
        ids += ids_here
        pixels.append(pixels_B13HW[:, 0])
    of_sides = torch.tensor([image_id in sided for image_id in ids])
    write_tensors(path, {"ids": torch.tensor(ids), "sided": of_sides, "pixels": torch.cat(pixels)})


class Rows(NamedTuple):
    """Pixels [B, 3, H, W] of 8 bits; and, of each, where a view lies in it [B, 2, 3], unless all are seen whole."""

    pixels: Tensor
    frames: Tensor | None


class PixelFeatures:
    """Reads features as a FeatureStore does, by an encoder that looks at the pixels each time: its weights may have moved since, and may be
    trained. They are standardised as those of the encoder before that, `before`."""

    def __init__(self, folder: Path, before: FeatureStore, encoder: Encoder, drawn: bool = False):
        """drawn: a training step sees of each photo a part cut out anew, see `drawn_frame`. UserError where `folder` has no pixels."""
        self.folder, self.before, self.drawn = folder, before, drawn
        self.encoder = encoder.for_photos_alone().to(memory_format=torch.channels_last)
        if not (folder / INDEX).exists():
            raise UserError(
                f"{folder}: no pixels, which training.fine_tune needs; run `dsacap pixels` with the same --config first"
            )
        files = [
            safe_open(folder / shard["file"], "pt").__enter__()
            for shard in read_json(folder / INDEX)["shards"]
        ]
        self._mapped = [
            file.get_tensor("pixels") for file in files
        ]  # pages are read when rows are asked for
        self._row_of, self._sided = {}, set()
        for number, file in enumerate(files):
            ids, sided = file.get_tensor("ids"), file.get_tensor("sided")
            self._row_of |= {image_id: (number, row) for row, image_id in enumerate(ids.tolist())}
            self._sided |= set(ids[sided].tolist())

    @property
    def views(self) -> int:
        """View 0 is the photo as it is."""
        return _VIEWS if self.drawn else 1

    @torch.no_grad()
    def read(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Standardised tokens [B, N, C] as float32, on `device`, which is the encoder's; without a gradient."""
        return self.features(self.rows(image_ids, views, device), device)

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Rows:
        """What is done on the CPU, and another thread can do ahead."""
        for image_id in image_ids:
            if image_id not in self._row_of:
                raise UserError(f"{self.folder}: no pixels of image id {image_id}")
        pixels = torch.stack(
            [self._mapped[shard][row] for shard, row in map(self._row_of.__getitem__, image_ids)]
        )
        frames = None
        if views and any(views[i] for i in image_ids):
            frames = torch.tensor(
                [
                    drawn_frame(i, views[i], i in self._sided) if views[i] else _WHOLE
                    for i in image_ids
                ]
            )
        rows = Rows(pixels, frames)
        return (
            Rows(*(x if x is None else x.pin_memory() for x in rows))
            if torch.device(device).type == "cuda"
            else rows
        )

    def features(self, rows: Rows, device: torch.device | str) -> Tensor:
        """The rest of `read`, with its gradient where the encoder is trained."""
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
        tokens_BNC, _ = self.encoder.see(self.encoder.from_bytes(pixels_B3HW))
        return self.standardised(tokens_BNC)

    def standardised(self, tokens_BNC: Tensor) -> Tensor:
        return self.before.standardised(tokens_BNC)
