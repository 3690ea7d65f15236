"""Several encoders as one, for comparing pictures as DreamSim does."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.vision.encoders.base import Encoder


class EnsembleEncoder(Encoder):
    """Pooled unit vectors side by side, so that a cosine is the mean of the members' cosines: the space of DreamSim (Fu et al., NeurIPS
    2023), whose members are the ViT-B/16 of DINO, CLIP and OpenCLIP. Tokens are those of the first member.

    Our reading, where DreamSim's own weights are not named in the configuration: its members were tuned on people's judgements of
    similarity, and are taken here as they are published.
    """

    def __init__(self, members: Sequence[Encoder]):
        """Raises UserError where members look at photos of different sizes, which one array of pixels cannot hold."""
        sizes = {member.image_size for member in members}
        if len(sizes) > 1:
            raise UserError(
                f"encoder.beside: members need one input size, these have {', '.join(map(str, sorted(sizes)))}; name others"
            )
        super().__init__(self._preprocess, members[0].image_size, members[0].grid)
        self.members = nn.ModuleList(members)

    def shape(self) -> tuple[int, int, int]:
        shapes = [member.shape() for member in self.members]
        return *shapes[0][:2], sum(pooled for _, _, pooled in shapes)

    def _preprocess(self, photo: Image.Image) -> Tensor:
        """[M, 3, H, W]: each member scales pixels in its own way."""
        return torch.stack([member.preprocess(photo) for member in self.members])

    def _maps(self, pixels_BM3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        seen = [member._maps(pixels_BM3HW[:, m]) for m, member in enumerate(self.members)]
        grid_BCHW, prefix_BPC, _ = seen[0]
        return (
            grid_BCHW,
            prefix_BPC,
            torch.cat([F.normalize(pooled_BE.float(), dim=-1) for _, _, pooled_BE in seen], dim=-1),
        )
