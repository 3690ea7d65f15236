"""Several encoders as one, to compare images as DreamSim does."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder


class EnsembleEncoder(Encoder):
    """Encoder whose pooled vector concatenates the unit vectors of several encoders.

    A cosine is then the mean of the members' cosines. This is the space of DreamSim (Fu et al.,
    NeurIPS 2023), whose members are the ViT-B/16 of DINO, CLIP and OpenCLIP. Tokens are those of
    the first member.

    Our reading, where the configuration does not name DreamSim's own weights: DreamSim fine-tuned
    its members on human judgements of similarity, and here they are used as published.
    """

    def __init__(self, members: Sequence[Encoder]):
        """Raise UserError if the members' input sizes differ, as one array must hold all pixels."""
        sizes = {member.image_size for member in members}
        if len(sizes) > 1:
            raise UserError(
                "encoder.beside: all members need the same input size, but these have"
                f" {', '.join(map(str, sorted(sizes)))}; choose members of one size"
            )
        super().__init__(self._preprocess, members[0].image_size, members[0].grid)
        self.members = nn.ModuleList(members)

    def shape(self) -> tuple[int, int, int]:
        """Return the first member's tokens and channels, and the sum of the pooled widths."""
        shapes = [member.shape() for member in self._encoders()]
        return *shapes[0][:2], sum(pooled for _, _, pooled in shapes)

    def _preprocess(self, photo: Image.Image) -> Tensor:
        """Return pixels (members, 3, height, width), normalised by each member in its own way."""
        return torch.stack([member.preprocess(photo) for member in self._encoders()])

    def from_pictures(self, pictures_B3HW: Tensor) -> Tensor:
        """Return pixels (batch, members, 3, height, width), by each member's preprocessing."""
        return torch.stack([m.from_pictures(pictures_B3HW) for m in self._encoders()], dim=1)

    def _maps(self, pixels_BM3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        maps = [member._maps(pixels_BM3HW[:, m]) for m, member in enumerate(self._encoders())]
        grid_BCHW, prefix_BPC, _ = maps[0]
        return (
            grid_BCHW,
            prefix_BPC,
            torch.cat([F.normalize(pooled_BE.float(), dim=-1) for _, _, pooled_BE in maps], dim=-1),
        )

    def _encoders(self) -> list[Encoder]:
        """Return the members; a ModuleList does not know the type of its items."""
        return [member for member in self.members if isinstance(member, Encoder)]
