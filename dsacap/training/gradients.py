"""The gradient of a batch: in one piece, or in parts that several processes share and each accumulates, to the same result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dsacap.captioner.batch_parts import Part, at_work_on, share
from dsacap.captioner.interface import Batch, Captioner
from dsacap.common.errors import UserError
from dsacap.config.training import Training

Objective = Callable[[Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class Read:
    """Of a step's images: their ids and captions [B, R, L + 1], the same in all processes; and, of each part that this process works
    through, what was read of its images."""

    ids: tuple[int, ...]
    captions: Tensor
    rows: Sequence[Any]


class Gradients:
    """Leaves the gradient in the parameters of `model` when called: those of the captioner, and of the encoder where it is trained."""

    def __init__(
        self,
        model: nn.Module,
        captioner: Captioner,
        features: Callable[[Any, torch.device], Tensor],
        objective: Objective,
        settings: Training,
        images: int,
        accelerator: Accelerator,
    ):
        """`features` makes them of rows that were read; `images` a batch. UserError where they cannot be divided, or a system does not say
        how."""
        self.model, self.features, self.objective, self.settings, self.accelerator = (
            model,
            features,
            objective,
            settings,
            accelerator,
        )
        self.images, self.parts = images, accelerator.num_processes * settings.accumulate
        told = f"in {self.parts} parts (processes {accelerator.num_processes} x accumulate {settings.accumulate})"
        if self.parts > images:
            raise UserError(
                f"a batch of {images} images cannot be worked through {told}; take fewer, or a larger batch_size"
            )
        if self.parts > 1 and not captioner.in_parts:
            raise UserError(
                f"{type(captioner).__name__} cannot be trained {told}; use processes: 1 and accumulate: 1"
            )
        if settings.compile:
            _compile(captioner)

    @property
    def slices(self) -> list[slice]:
        """Which images of a batch are those of each part that this process works through."""
        each = self.settings.accumulate
        numbers = range(
            self.accelerator.process_index * each, (self.accelerator.process_index + 1) * each
        )
        return [
            slice(self.images * number // self.parts, self.images * (number + 1) // self.parts)
            for number in numbers
        ]

    def __call__(self, read: Read, seed: int) -> dict[str, Tensor]:
        """Losses and what else the objective logs, of the whole batch."""
        device, total = self.accelerator.device, {}
        captions_BRL = read.captions.to(device)
        self.model.zero_grad(set_to_none=True)
        for mine, rows in zip(self.slices, read.rows, strict=True):
            torch.manual_seed(
                seed
            )  # of the whole batch's random numbers, of which each part takes its own
            with at_work_on(self._part(mine, captions_BRL)):
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"
                ):
                    losses = self.objective(
                        Batch(read.ids[mine], self.features(rows, device), captions_BRL[mine])
                    )
                weighted = {name: value * share() for name, value in losses.items()}
            weighted["loss"].backward()
            total = {name: total.get(name, 0) + value.detach() for name, value in weighted.items()}
        return self._summed(total) if self.accelerator.num_processes > 1 else total

    def _part(self, mine: slice, captions_BRL: Tensor) -> Part | None:
        """None for the whole."""
        if self.parts == 1:
            return None
        at_once = (
            partial(self.accelerator.reduce, reduction="sum")
            if self.settings.accumulate == 1
            else None
        )
        return Part(mine.start, mine.stop, self.images, captions_BRL, at_once)

    def _summed(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Over all processes, and so the gradients."""
        gradients = [
            parameter.grad for parameter in self.model.parameters() if parameter.grad is not None
        ]
        flat = self.accelerator.reduce(
            torch.cat([gradient.flatten() for gradient in gradients]), "sum"
        )
        pieces = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(
            gradients,
            [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)],
        )
        values = torch.stack(
            [value.to(self.accelerator.device, torch.float64) for value in losses.values()]
        )
        return dict(zip(losses, self.accelerator.reduce(values, "sum"), strict=True))


def _compile(captioner: Captioner) -> None:
    """Block by block, of which one graph serves all, and all lengths of captions."""
    blocks = captioner.blocks_trained
    if not blocks:
        raise UserError(
            f"{type(captioner).__name__} has no blocks of its own to compile; leave training.compile out"
        )
    for block in blocks:
        block.compile(dynamic=True)
