"""Checkpoints of a training run, each in one safetensors file.

A file has the tensors of the model and the optimizer, and everything else as JSON in its header. It
is put in place by an atomic rename, so a checkpoint is complete or absent. The two newest are kept:
should the newest be torn all the same, because the disk reported a write that it had not completed,
the one before it is used.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from dsacap.common.errors import UserError
from dsacap.common.files import read_tensors, write_tensors
from dsacap.training.moving_average import MovingAverage

_KEPT = 2


@dataclass
class Progress:
    """The progress of a run.

    Learning rate, data order and random numbers are functions of (seed, step), so `step` restores
    them too.

    Attributes:
        step: How many steps are done.
        best_cider: The best validation score so far.
        best_step: The step at which it was reached.
        cpu_seconds: CPU time so far.
        validated: CIDEr of each validation image at the last two evaluations, the older one first.
    """

    step: int = 0
    best_cider: float = -1.0
    best_step: int = 0
    cpu_seconds: float = 0.0
    validated: list[list[float]] = field(default_factory=list)


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    at: Progress,
    average: MovingAverage | None = None,
) -> None:
    """Write a checkpoint, and delete all but the two newest.

    Args:
        folder: The folder of checkpoints.
        model: The model.
        optimizer: Its optimizer.
        at: The progress of the run.
        average: The moving average of the model's weights, if it has one.
    """
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    names = _names(model, optimizer)
    # Parameters that have had no gradient yet have no state.
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{names[index]}/{key}": value for key, value in state.items()}
    if average:
        tensors |= {
            f"average/{name}": tensor
            for (name, _), tensor in zip(model.named_parameters(), average.weights, strict=True)
        }
    write_tensors(
        folder / f"step-{at.step:08d}.safetensors", tensors, {"progress": json.dumps(vars(at))}
    )
    for old in sorted(folder.glob("step-*.safetensors"))[:-_KEPT]:
        old.unlink()


def restore(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None = None,
) -> Progress:
    """Load the newest complete checkpoint, and delete newer ones that cannot be read.

    Args:
        folder: The folder of checkpoints.
        model: The model, whose weights are replaced.
        optimizer: Its optimizer, whose state is replaced.
        average: The moving average of the model's weights, if it has one; it is replaced too.

    Returns:
        The progress of the run, at step 0 if there is no checkpoint.
    """
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            tensors, metadata = read_tensors(path)
        except UserError as error:
            print(f"warning: {error}. Going back to the checkpoint before it.", file=sys.stderr)
            path.unlink(missing_ok=True)  # another process of the run may have deleted it already
            continue
        model.load_state_dict(
            {
                name.removeprefix("model/"): t
                for name, t in tensors.items()
                if name.startswith("model/")
            }
        )
        state = optimizer.state_dict()
        for index, name in enumerate(_names(model, optimizer)):
            prefix = f"optimizer/{name}/"
            if of_parameter := {
                key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)
            }:
                state["state"][index] = of_parameter
        optimizer.load_state_dict(state)
        at = Progress(**json.loads(metadata["progress"]))
        if average:
            average.weights = [
                tensors[f"average/{name}"].to(weights.device)
                for name, weights in model.named_parameters()
            ]
        return at
    return Progress()


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Return the model's names for the optimizer's parameters, in the optimizer's order."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        name_of[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]
    ]
