"""The moving average of weights that diffusion models are decoded with (as in Ho et al. 2020), young at first: without that, a short run
would keep much of its random start."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """After update n: average += (1 - d) (weights - average), d = min(decay, (1 + n) / (10 + n))."""

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.weights = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, list(self.model.parameters()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights for as long as the context lasts."""
        trained = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.copy(self.weights)
        try:
            yield
        finally:
            self.copy(trained)

    @torch.no_grad()
    def copy(self, weights: list[Tensor]) -> None:
        """Into the model."""
        torch._foreach_copy_(list(self.model.parameters()), weights)
