"""Captioners by name: our own, and those that other installed packages bring by an entry point.

A package brings one by these lines in its pyproject.toml (see examples/):

    [project.entry-points."dsacap.captioners"]
    show-and-tell = "show_and_tell:ShowAndTell"
"""

import importlib
from importlib.metadata import EntryPoint, entry_points

from dsacap.captioner.interface import Captioner, ImageSpec
from dsacap.common.errors import UserError

# One line a system; a captioner is imported only where it is used.
CAPTIONERS = {
    "dsacap": "dsacap.method.dsacap:DSACap",
    "autoregressive": "baselines.autoregressive:Autoregressive",
    "masked-diffusion": "baselines.masked_diffusion:MaskedDiffusion",
    "bit-diffusion": "baselines.bit_diffusion:BitDiffusion",
    "ladic": "baselines.ladic:LaDiC",
    "parallel": "baselines.one_pass:Parallel",
    "prefix-lm": "baselines.prefix_lm:PrefixLM",
    "scd-net": "baselines.scd_net:SCDNet",
}
_GROUP = "dsacap.captioners"


def captioner_class(name: str) -> type[Captioner]:
    """ValueError where no such captioner is known, or another package's cannot be used."""
    if name in CAPTIONERS:
        module, attribute = CAPTIONERS[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    brought = _brought(name)
    if brought is None:
        others = sorted({point.name for point in entry_points(group=_GROUP)})
        raise ValueError(f"unknown captioner {name!r}; known: {', '.join([*CAPTIONERS, *others])}")
    try:
        found = brought.load()
    except (
        Exception
    ) as error:  # another package's code: whatever it raises, the user is told whose it is
        raise ValueError(
            f"captioner {name!r} of {release_of(name)} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Captioner)):
        raise ValueError(
            f"captioner {name!r} of {release_of(name)}: {brought.value} is no subclass of dsacap.captioner.Captioner"
        )
    return found


def release_of(name: str) -> str | None:
    """Name and version of the package that brings a captioner; None for our own. What it trained is kept by that too."""
    brought = None if name in CAPTIONERS else _brought(name)
    return brought and f"{brought.dist.name} {brought.dist.version}"


def _brought(name: str) -> EntryPoint | None:
    points = list(entry_points(group=_GROUP, name=name))
    if len(points) > 1:
        raise ValueError(
            f"captioner {name!r} is brought by {' and by '.join(p.dist.name for p in points)}; uninstall one"
        )
    return points[0] if points else None


def load_captioner(name: str, model: dict, spec: ImageSpec) -> Captioner:
    """A freshly initialised captioner; raises UserError where the options do not fit together."""
    try:
        cls = captioner_class(name)
        return cls(cls.Model(**model), spec)
    except ValueError as error:
        raise UserError(f"captioner {name}: {error}") from None
