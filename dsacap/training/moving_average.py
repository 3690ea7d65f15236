"""The moving average of weights that diffusion models are decoded with (as in Ho et al. 2020).

Its decay warms up, since otherwise a short run would keep much of its random initialisation.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of a model's weights.

    Update n is average += (1 - d) (weights - average) with d = min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, model: nn.Module, decay: float):
        """Start with the model's present weights; `decay` is the limit that d rises to."""
        self.model, self.decay = model, decay
        self.weights = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the model's weights after step number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, list(self.model.parameters()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights in a `with` block, and the trained ones after it."""
        trained = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.copy(self.weights)
        try:
            yield
        finally:
            self.copy(trained)

    @torch.no_grad()
    def copy(self, weights: list[Tensor]) -> None:
        """Copy `weights`, in the order of `model.parameters()`, into the model."""
        torch._foreach_copy_(list(self.model.parameters()), weights)
