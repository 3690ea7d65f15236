"""Checkpoints: one safetensors file each, with the tensors of model and optimizer, and everything else as JSON in its header.

One file is one atomic rename, so a checkpoint is whole or absent. The two newest are kept: should the newest be torn all the same (a
disk that lied), the one before it serves.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dsacap.common.errors import UserError
from dsacap.common.files import read_tensors, write_tensors
from dsacap.training.moving_average import MovingAverage

_KEPT = 2


@dataclass
class Progress:
    """Where a run stands. Learning rate, data order and random numbers are functions of (seed, step), so `step` restores them too."""

    step: int = 0
    best_cider: float = -1.0
    best_step: int = 0
    cpu_seconds: float = 0.0


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    at: Progress,
    average: MovingAverage | None = None,
) -> None:
    """`average` is the moving average of the model's weights, where there is one."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    names = _names(model, optimizer)
    for index, state in optimizer.state_dict()[
        "state"
    ].items():  # parameters that had no gradient yet have none
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
    """Loads the newest whole checkpoint; a fresh start where there is none."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            tensors, metadata = read_tensors(path)
        except UserError as error:
            print(f"warning: {error}. Going back to the checkpoint before it.", file=sys.stderr)
            path.unlink(missing_ok=True)  # of several processes, another one may have been first
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
            if found := {
                key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)
            }:
                state["state"][index] = found
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
    """The model's names of the optimizer's parameters, in the optimizer's order."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        name_of[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]
    ]
