"""The gradient of a batch: in one piece, or in parts that several processes share and each accumulates, to the same result."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor

from dsacap.captioner import Batch, Captioner
from dsacap.config import Training
from dsacap.errors import UserError
from dsacap.parts import Part, at_work_on, share

Objective = Callable[[Batch], dict[str, Tensor]]


class Gradients:
    """Leaves the gradient in the captioner's parameters when called."""

    def __init__(self, captioner: Captioner, objective: Objective, settings: Training, images: int, accelerator: Accelerator):
        """`images` a batch. UserError where they cannot be divided, or a system does not say how."""
        self.captioner, self.objective, self.settings, self.accelerator = captioner, objective, settings, accelerator
        self.parts = accelerator.num_processes * settings.accumulate
        told = f"in {self.parts} parts (processes {accelerator.num_processes} x accumulate {settings.accumulate})"
        if self.parts > images:
            raise UserError(f"a batch of {images} images cannot be worked through {told}; take fewer, or a larger batch_size")
        if self.parts > 1 and not captioner.in_parts:
            raise UserError(f"{type(captioner).__name__} cannot be trained {told}; use processes: 1 and accumulate: 1")
        if settings.compile:
            _compile(captioner)

    def __call__(self, ids: Sequence[int], captions_BRL: Tensor, read: Callable[[Sequence[int]], Tensor], seed: int) -> dict[str, Tensor]:
        """Losses and what else the objective logs, of the batch of images `ids` with `captions_BRL`, the same in all processes. `read`
        gives features of images; only this process' are read."""
        device, total = self.accelerator.device, {}
        captions_BRL = captions_BRL.to(device)
        self.captioner.zero_grad(set_to_none=True)
        for part in self._mine(captions_BRL):
            rows = slice(part.first, part.last) if part else slice(None)
            batch = Batch(tuple(ids[rows]), read(ids[rows]).to(device), captions_BRL[rows])
            torch.manual_seed(seed)  # of the whole batch's random numbers, of which each part takes its own
            with at_work_on(part):
                with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                    losses = self.objective(batch)
                weighted = {name: value * share() for name, value in losses.items()}
            weighted["loss"].backward()
            total = {name: total.get(name, 0) + value.detach() for name, value in weighted.items()}
        return self._summed(total) if self.accelerator.num_processes > 1 else total

    def _mine(self, captions_BRL: Tensor) -> Iterator[Part | None]:
        """The parts that this process works through; None for the whole."""
        if self.parts == 1:
            yield None
            return
        images, each = len(captions_BRL), self.settings.accumulate
        at_once = partial(self.accelerator.reduce, reduction="sum") if each == 1 else None
        for number in range(self.accelerator.process_index * each, (self.accelerator.process_index + 1) * each):
            yield Part(images * number // self.parts, images * (number + 1) // self.parts, images, captions_BRL, at_once)

    def _summed(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Over all processes, and so the gradients."""
        gradients = [parameter.grad for parameter in self.captioner.parameters() if parameter.grad is not None]
        flat = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
        pieces = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)])
        values = torch.stack([value.to(self.accelerator.device, torch.float64) for value in losses.values()])
        return dict(zip(losses, self.accelerator.reduce(values, "sum"), strict=True))


def _compile(captioner: Captioner) -> None:
    """Block by block, of which one graph serves all, and all lengths of captions."""
    blocks = captioner.blocks_trained
    if not blocks:
        raise UserError(f"{type(captioner).__name__} has no blocks of its own to compile; leave training.compile out")
    for block in blocks:
        block.compile(dynamic=True)
