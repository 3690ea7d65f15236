"""The gradient of a batch.

It is computed in one piece, or in parts that several processes share and each accumulates, with the
same result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dsacap.captioner.batch_parts import WHOLE, Part, Slice, assign_part
from dsacap.captioner.interface import Batch, Captioner
from dsacap.common.errors import UserError
from dsacap.config.training import Training

Objective = Callable[[Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class Read:
    """What was read for a step.

    Attributes:
        ids: The ids of the step's images, the same in all processes.
        captions: Their captions, `(images, references, length + 1)`.
        rows: Of each part that this process works on, what was read of its images.
    """

    ids: tuple[int, ...]
    captions: Tensor
    rows: Sequence[Any]


class Gradients:
    """Leaves the gradient in the parameters of `model` when it is called."""

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
        """Divide the batch.

        Args:
            model: The captioner, and the encoder if that is trained too.
            captioner: The captioner.
            features: Makes features of rows that were read.
            objective: The losses of a batch.
            settings: How it is trained.
            images: The images of a batch.
            accelerator: Of this process.

        Raises:
            UserError: The batch cannot be divided so, or the system cannot be trained in parts.
        """
        self.model, self.captioner, self.features = model, captioner, features
        self.objective, self.settings, self.accelerator = objective, settings, accelerator
        self.images, self.parts = images, accelerator.num_processes * settings.accumulate
        factors = f"processes {accelerator.num_processes} x accumulate {settings.accumulate}"
        division = f"in {self.parts} parts ({factors})"
        if self.parts > images:
            raise UserError(
                f"a batch of {images} images cannot be worked through {division}; "
                "take fewer, or a larger batch_size"
            )
        if self.parts > 1 and not captioner.in_parts:
            raise UserError(
                f"{type(captioner).__name__} cannot be trained {division}; "
                "use processes: 1 and accumulate: 1"
            )
        if settings.compile:
            _compile(captioner)

    @property
    def slices(self) -> list[slice]:
        """The images of each part that this process works on."""
        each, first = self.settings.accumulate, self.accelerator.process_index
        return [
            slice(self.images * number // self.parts, self.images * (number + 1) // self.parts)
            for number in range(first * each, (first + 1) * each)
        ]

    def __call__(self, read: Read, seed: int) -> dict[str, Tensor]:
        """Compute the gradient.

        Args:
            read: What was read for the step.
            seed: The seed of its random numbers.

        Returns:
            What the objective logs, its losses among it, of the whole batch.
        """
        total: dict[str, Tensor] = {}
        captions_BRL = read.captions.to(self.accelerator.device, non_blocking=True)
        self.model.zero_grad(set_to_none=True)
        for mine, rows in zip(self.slices, read.rows, strict=True):
            # Each part draws the random numbers of the whole batch and takes its own.
            torch.manual_seed(seed)
            part = self._part(mine, read.captions)
            assign_part(self.captioner, part)
            try:
                losses = self._losses(read, mine, rows, captions_BRL, part)
                losses["loss"].backward()
            finally:
                assign_part(self.captioner, WHOLE)
            total = {name: total.get(name, 0) + value.detach() for name, value in losses.items()}
        return self._summed(total) if self.accelerator.num_processes > 1 else total

    def _losses(
        self, read: Read, mine: slice, rows: Any, captions_BRL: Tensor, part: Part
    ) -> dict[str, Tensor]:
        """What a part contributes to the losses of the batch."""
        device, is_bf16 = self.accelerator.device, self.settings.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            features_BNC = self.features(rows, device)
            batch = Batch(read.ids[mine], features_BNC, captions_BRL[mine], part=part)
            losses = self.objective(batch)
        return {name: value * part.share for name, value in losses.items()}

    def _part(self, mine: slice, captions_BRL: Tensor) -> Part:
        if self.parts == 1:
            return Part(captions_BRL)
        is_at_once = self.settings.accumulate == 1
        total = partial(self.accelerator.reduce, reduction="sum") if is_at_once else None
        return Slice(mine.start, mine.stop, self.images, captions_BRL, total)

    def _summed(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum the losses, and the gradients, over all processes."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        pieces = self.accelerator.reduce(flat, "sum").split([g.numel() for g in gradients])
        summed = [p.view_as(gradient) for p, gradient in zip(pieces, gradients, strict=True)]
        torch._foreach_copy_(gradients, summed)
        device = self.accelerator.device
        values = torch.stack(
            [value.to(device, torch.float64, non_blocking=True) for value in losses.values()]
        )
        return dict(zip(losses, self.accelerator.reduce(values, "sum"), strict=True))


def _compile(captioner: Captioner) -> None:
    """Compile block by block: one graph serves all blocks, and all lengths of captions."""
    blocks = captioner.blocks_trained
    if not blocks:
        raise UserError(
            f"{type(captioner).__name__} has no blocks of its own to compile; "
            "leave training.compile out"
        )
    for block in blocks:
        block.compile(dynamic=True)
