"""Features on disk, as encode.py writes them, read row by row without loading whole shards."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors

INDEX = "index.json"


class FeatureStore:
    """Reader of standardised features by image id; shards stay memory-mapped.

    Attributes:
        folder: Where the features are.
        tokens: Tokens per image.
        channels: Channels per token.
        mean: Mean of each channel over the train images (channels).
        std: Standard deviation of each channel over the train images (channels).
        encoder: None, as the features are stored; a store of pixels has one.
    """

    encoder: None = None

    def __init__(self, folder: Path):
        """Map the shards that the index of `folder` lists."""
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
            # Pages of a mapped tensor are read from disk when its rows are used.
            self._mapped.append([file.get_tensor("tokens") for file in files])
            if view == 0:
                self._pooled = [file.get_tensor("pooled") for file in files]
                for number, file in enumerate(files):
                    self._row_of |= {
                        image_id: (number, row)
                        for row, image_id in enumerate(file.get_tensor("ids").tolist())
                    }

    @property
    def views(self) -> int:
        """Views per image: view 0 is the whole photo, the others are crops of it for training."""
        return len(self._mapped)

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._row_of

    def read(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Read standardised tokens.

        Args:
            image_ids: The images of the batch.
            views: The view of each image id; 0, the whole photo, for the others.
            device: Where the tokens go.

        Returns:
            Tokens (batch, tokens, channels) as float32.

        Raises:
            UserError: An image has no features.
        """
        return self.features(self.rows(image_ids, views, device), device)

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Read raw tokens from disk: the part of `read` that another thread can do ahead.

        Args:
            image_ids: As for `read`.
            views: As for `read`.
            device: Where the tokens will go; for a GPU, they are put in pinned memory.

        Returns:
            Tokens (batch, tokens, channels) in the 16 bits of the disk, not standardised.

        Raises:
            UserError: An image has no features.
        """
        views = views or {}
        rows = [
            self._mapped[views.get(i, 0)][shard][row]
            for i, (shard, row) in zip(image_ids, self._places(image_ids), strict=True)
        ]
        tokens_BNC = torch.stack(rows)
        return tokens_BNC.pin_memory() if torch.device(device).type == "cuda" else tokens_BNC

    def features(self, rows_BNC: Tensor, device: torch.device | str) -> Tensor:
        """Standardise what `rows` read, on `device`: the rest of `read`.

        A GPU receives the 16 bits of the disk, because widening and standardising them on the CPU
        takes four times as long as reading the rows.
        """
        return self.standardised(rows_BNC.to(device, non_blocking=True))

    def read_pooled(self, image_ids: Sequence[int]) -> Tensor:
        """Return the encoder's unit vectors (batch, width) of the whole photos as float32."""
        return torch.stack(
            [self._pooled[shard][row] for shard, row in self._places(image_ids)]
        ).float()

    def _places(self, image_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return the shard and row of each image."""
        for image_id in image_ids:
            if image_id not in self:
                raise UserError(
                    f"{self.folder}: no features of image id {image_id}; its photo was skipped (see"
                    f" {INDEX}), or the data set does not contain it"
                )
        return [self._row_of[image_id] for image_id in image_ids]

    def standardised(self, tokens_BNC: Tensor) -> Tensor:
        """Bring raw tokens (batch, tokens, channels), on any device, to the scale of `read`."""
        mean, std = (x.to(tokens_BNC.device, non_blocking=True) for x in (self.mean, self.std))
        return (tokens_BNC.float() - mean) / std
