"""Captioners by name: our own, and those that other installed packages provide by an entry point.

A package provides one with these lines in its pyproject.toml (see examples/):

    [project.entry-points."dsacap.captioners"]
    show-and-tell = "show_and_tell:ShowAndTell"
"""

import importlib
from importlib.metadata import Distribution, EntryPoint, entry_points

from dsacap.captioner.interface import Captioner, ImageSpec
from dsacap.common.errors import UserError

# A captioner is imported only when it is used.
CAPTIONERS = {
    "dsacap": "dsacap.method.dsacap:DSACap",
    "autoregressive": "dsacap.baselines.autoregressive:Autoregressive",
    "masked-diffusion": "dsacap.baselines.masked_diffusion:MaskedDiffusion",
    "bit-diffusion": "dsacap.baselines.bit_diffusion:BitDiffusion",
    "ladic": "dsacap.baselines.ladic:LaDiC",
    "parallel": "dsacap.baselines.one_pass:Parallel",
    "prefix-lm": "dsacap.baselines.prefix_lm:PrefixLM",
    "scd-net": "dsacap.baselines.scd_net:SCDNet",
}
_GROUP = "dsacap.captioners"


def captioner_class(name: str) -> type[Captioner]:
    """Return the class of a captioner.

    Args:
        name: A key of `CAPTIONERS`, or the name of another package's entry point.

    Raises:
        ValueError: There is no captioner of this name, or another package's cannot be used.
    """
    if name in CAPTIONERS:
        module, attribute = CAPTIONERS[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    point = _entry_point(name)
    if point is None:
        others = sorted({point.name for point in entry_points(group=_GROUP)})
        raise ValueError(f"unknown captioner {name!r}; known: {', '.join([*CAPTIONERS, *others])}")
    try:
        found = point.load()
    except Exception as error:  # another package's code can raise anything: name the package
        raise ValueError(
            f"captioner {name!r} of {release_of(name)} cannot be loaded:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Captioner)):
        raise ValueError(
            f"captioner {name!r} of {release_of(name)}: {point.value} is not a subclass of"
            " dsacap.captioner.Captioner"
        )
    return found


def release_of(name: str) -> str | None:
    """Return name and version of the package that provides a captioner; None for our own.

    Trained systems are stored by it too.
    """
    point = None if name in CAPTIONERS else _entry_point(name)
    if point is None:
        return None
    package = _package_of(point)
    return f"{package.name} {package.version}"


def _entry_point(name: str) -> EntryPoint | None:
    points = list(entry_points(group=_GROUP, name=name))
    if len(points) > 1:
        packages = " and ".join(_package_of(point).name for point in points)
        raise ValueError(
            f"captioner {name!r} is provided by several packages: {packages};"
            " uninstall all but one of them"
        )
    return points[0] if points else None


def _package_of(point: EntryPoint) -> Distribution:
    assert point.dist is not None  # entry_points() finds them in packages' metadata
    return point.dist


def load_captioner(name: str, model: dict, spec: ImageSpec) -> Captioner:
    """Construct a captioner with freshly initialised weights.

    Args:
        name: As for `captioner_class`.
        model: Options of the captioner's `Model`.
        spec: Sizes of its input and output.

    Raises:
        UserError: There is no such captioner, or its options do not fit together.
    """
    try:
        cls = captioner_class(name)
        return cls(cls.Model(**model), spec)
    except ValueError as error:
        raise UserError(f"captioner {name}: {error}") from None
