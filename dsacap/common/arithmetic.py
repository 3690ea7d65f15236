"""The two kinds of arithmetic that a run can use: `fast` and `portable`.

torch and the libraries inside it (MKL, oneDNN) choose their kernels by processor, and kernels
differ in the order in which they add. A training amplifies such differences in the last bit, so the
same configuration gives other captions on another processor. With `arithmetic: portable` all
processors run the same kernels, those for AVX2: captions, weights and scores are then the same
bytes on every x86-64 processor that has AVX2. It takes about twice the time, because the kernels of
MKL that give the same result everywhere are its slowest ones.

The libraries read these settings from the environment when they are loaded, so a process has to
choose before it imports torch. Its child processes inherit the choice.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dsacap.common.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.library import Library

PORTABLE = "portable"
VARIABLES = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "MKL_CBWR": "COMPATIBLE",  # MKL's; its other settings still differ between AMD and Intel
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def choose_before_torch(path: Path) -> None:
    """Set the environment for portable arithmetic if the configuration at `path` asks for it.

    Does nothing once torch is loaded, when it would be too late; `prepare` then reports that. Reads
    the one key alone, since whatever parses the configuration loads torch and reports what is wrong
    with the file.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return
    pairs = root.value if isinstance(root, yaml.MappingNode) else ()
    if any((key.value, value.value) == ("arithmetic", PORTABLE) for key, value in pairs):
        choose_portable()


def choose_portable() -> None:
    """Set the environment for portable arithmetic, unless torch is loaded already."""
    if "torch" not in sys.modules:
        os.environ.update(VARIABLES)


def prepare(arithmetic: str, device: str) -> None:
    """Make sure that this process computes by the configuration's arithmetic.

    Args:
        arithmetic: `fast` or `portable`.
        device: the configuration's device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the arithmetic is portable, and the processor has no AVX2, a GPU would be used,
            or torch was loaded with other settings.
    """
    if arithmetic != PORTABLE:
        return
    import torch

    if torch.cuda.is_available() and device != "cpu":
        raise UserError(
            "arithmetic: portable cannot be promised on a GPU, and this machine has one;"
            " set device: cpu, or arithmetic: fast"
        )
    if any(os.environ.get(name) != value for name, value in VARIABLES.items()):
        raise UserError(
            "arithmetic: portable has to be set before torch is loaded; run this configuration"
            " by the command dsacap or by snakemake, in a process of its own"
        )
    # Not torch.backends.cpu.get_cpu_capability(), which returns what the variables above ask for.
    found = torch.cpu.get_capabilities()
    if lacking := [name.upper() for name in ("avx2", "fma3") if not found.get(name)]:
        raise UserError(
            "arithmetic: portable needs an x86-64 processor with AVX2, and this one"
            f" ({platform.machine()}) has no {' and no '.join(lacking)}; set arithmetic: fast"
        )
    _use_exact_square_roots()


@cache
def _use_exact_square_roots() -> Library:
    """Replace torch's square root on the CPU by the correctly rounded one, in this process.

    torch takes it from MKL's vector mathematics, which rounds differently on AMD and on Intel
    whatever MKL_CBWR is. numpy's is the processor's own instruction, which IEEE 754 defines to the
    last bit. `x ** 0.5` (diffusers' schedulers) takes the same path. Gradients are those of torch,
    which differentiates above the level at which this registers.

    Returns:
        The library that keeps the replacement registered.
    """
    import numpy as np
    import torch

    def root(x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(np.sqrt(x.numpy(force=True))))

    def power(x: Tensor, exponent: float) -> Tensor:
        if exponent == 0.5 and x.dtype in (torch.float32, torch.float64):
            return root(x)
        return torch.pow(x, torch.tensor(exponent))

    library = torch.library.Library("aten", "IMPL")
    for name, function in {
        "sqrt": root,
        "sqrt_": lambda x: x.copy_(root(x)),
        "sqrt.out": lambda x, *, out: out.copy_(root(x)),
        "pow.Tensor_Scalar": power,
    }.items():
        library.impl(name, function, "CPU", allow_override=True)
    return library


def without_choice(environment: Mapping[str, str], arithmetic: str) -> dict[str, str]:
    """Return the environment of a process that measures time, which uses the fast kernels."""
    if arithmetic != PORTABLE:
        return dict(environment)
    return {name: value for name, value in environment.items() if name not in VARIABLES}


def in_use() -> dict[str, str | None]:
    """Return what decides the arithmetic of this process, for provenance."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": capability, **{name: os.environ.get(name) for name in VARIABLES}}
