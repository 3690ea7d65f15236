"""Packages that not every installation has, because an extra of this one brings them.

`pip install dsacap-bench` brings what scoring needs; `pip install "dsacap-bench[train]"` brings
torch too. Which package belongs to which extra is read from the metadata of this distribution.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata

from dsacap.common.errors import UserError

DISTRIBUTION = "dsacap-bench"
_OF_AN_EXTRA = re.compile(r"""([\w.-]+).*\bextra == ["'](\w+)["']""")


class MissingExtra(UserError):
    """A package that an extra brings is not installed."""


@contextmanager
def naming_extras() -> Iterator[None]:
    """Name the extra to install where the block imports a package that the extra has.

    Raises:
        MissingExtra: A package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extra = extra_with(module, metadata.requires(DISTRIBUTION) or ())
        if extra is None:
            raise
        raise MissingExtra(
            f"this needs the package {module}, which is not installed;"
            f' pip install "{DISTRIBUTION}[{extra}]" installs it'
        ) from error


def extra_with(module: str, requirements: Iterable[str]) -> str | None:
    """Return the extra that brings a module.

    Args:
        module: The name by which a package is imported.
        requirements: The requirements of the distribution, as its metadata lists them.

    Returns:
        The extra whose package has this name, or a longer one, as open_clip is imported from
        open_clip_torch; None if no extra has such a package.
    """
    found = (_OF_AN_EXTRA.match(line) for line in requirements)
    extras = {match[1].replace("-", "_"): match[2] for match in found if match}
    names = [name for name in extras if f"{name}_".startswith(f"{module}_")]
    return extras[min(names, key=len)] if module and names else None
