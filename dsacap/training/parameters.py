"""What a run trains: the captioner, and the encoder where it is trained too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from dsacap.captioner.interface import Captioner
from dsacap.config.training import Training

if TYPE_CHECKING:
    from dsacap.vision.features.pixels import PixelFeatures
    from dsacap.vision.features.store import FeatureStore


def trained_together(
    captioner: Captioner, store: FeatureStore | PixelFeatures, settings: Training
) -> nn.Module:
    """The modules that are stored, averaged and clipped as one.

    That is the captioner, and the encoder where it sees pixels. The encoder stays in evaluation
    mode: the statistics of its batch norms are those that it came with, whatever the batch and
    however it is divided.
    """
    if store.encoder is None:
        return captioner
    store.encoder.requires_grad_(settings.fine_tune is not None)
    return nn.ModuleDict({"captioner": captioner, "encoder": store.encoder})


def parameter_groups(model: nn.Module, captioner: Captioner, settings: Training) -> list[dict]:
    """Decay the weights of matrices only, as is usual; `factor` multiplies the learning rate."""
    groups, own = [], set(captioner.parameters())
    encoders = [p for p in model.parameters() if p not in own]
    factor = (
        settings.fine_tune.learning_rate / settings.learning_rate if settings.fine_tune else 0.0
    )
    for parameters, of_rate in ((list(captioner.parameters()), 1.0), (encoders, factor)):
        matrices, others = (
            [p for p in parameters if p.ndim >= 2],
            [p for p in parameters if p.ndim < 2],
        )
        decays = ((matrices, settings.weight_decay), (others, 0.0))
        groups += [
            {"params": some, "weight_decay": decay, "factor": of_rate}
            for some, decay in decays
            if some
        ]
    return groups
