"""Systems that are trained with their encoder, and the weights of both."""

import torch

from dsacap.common.files import read_tensors, write_json
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system


def train(layout: Layout, system: str = "ar") -> dict:
    facts = (tune_system if layout.config.systems[system].tuned_from else train_system)(
        layout, system, 0
    )
    write_json(manifest_of(layout.system(system, 0)), {"facts": facts})
    return facts


def weights(layout: Layout, system: str = "ar") -> dict[str, torch.Tensor]:
    return read_tensors(layout.system(system, 0) / "model.safetensors")[0]


def encoder_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("encoder."): t
        for name, t in tensors.items()
        if name.startswith("encoder.")
    }
