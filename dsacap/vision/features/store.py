"""Encoded photos on disk, as `encoding` leaves them: read row by row in any order, without loading them whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors

INDEX = "index.json"


class FeatureStore:
    """Reads standardised features of any images by id; shards stay memory-mapped.

    `views` counts what there is of each image: view 0 is the photo as it is, the others are parts of it, for training.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        index = read_json(folder / INDEX)
        self.tokens, self.channels = index["tokens"], index["channels"]
        statistics, _ = read_tensors(folder / "statistics.safetensors")
        self.mean, self.std = statistics["mean"], statistics["std"]
        self._mapped: list[list[Tensor]] = []  # by view and shard
        self._pooled: list[Tensor] = []
        self._row_of: dict[int, tuple[int, int]] = {}
        for view, shards in enumerate([index["shards"], *index.get("views", [])]):
            files = [safe_open(folder / shard["file"], "pt").__enter__() for shard in shards]
            self._mapped.append(
                [file.get_tensor("tokens") for file in files]
            )  # pages are read when rows are asked for
            if view == 0:
                self._pooled = [file.get_tensor("pooled") for file in files]
                for number, file in enumerate(files):
                    self._row_of |= {
                        image_id: (number, row)
                        for row, image_id in enumerate(file.get_tensor("ids").tolist())
                    }

    @property
    def views(self) -> int:
        return len(self._mapped)

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._row_of

    def read(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Standardised tokens [B, N, C] as float32, on `device`: of the photos, or of the views that `views` names by image id."""
        return self.features(self.rows(image_ids, views, device), device)

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """What the disk holds of images, ready to be sent to `device`: the part of `read` that another thread can do ahead."""
        views = views or {}
        rows = [
            self._mapped[views.get(i, 0)][shard][row]
            for i, (shard, row) in zip(image_ids, self._places(image_ids), strict=True)
        ]
        tokens_BNC = torch.stack(rows)
        return tokens_BNC.pin_memory() if torch.device(device).type == "cuda" else tokens_BNC

    def features(self, rows_BNC: Tensor, device: torch.device | str) -> Tensor:
        """The rest of `read`. A GPU is sent the 16 bits of the disk: widening and standardising them on the CPU takes four times as long as
        finding the rows."""
        return self.standardised(rows_BNC.to(device, non_blocking=True))

    def read_pooled(self, image_ids: Sequence[int]) -> Tensor:
        """The encoder's unit vectors [B, E] as float32."""
        return torch.stack(
            [self._pooled[shard][row] for shard, row in self._places(image_ids)]
        ).float()

    def _places(self, image_ids: Sequence[int]) -> list[tuple[int, int]]:
        """The shard and row of each image."""
        for image_id in image_ids:
            if image_id not in self:
                raise UserError(f"{self.folder}: no features of image id {image_id}")
        return [self._row_of[image_id] for image_id in image_ids]

    def standardised(self, tokens_BNC: Tensor) -> Tensor:
        """Raw tokens, on any device, on the scale of those that `read` gives."""
        return (tokens_BNC.float() - self.mean.to(tokens_BNC.device)) / self.std.to(
            tokens_BNC.device
        )
