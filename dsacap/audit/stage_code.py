"""The files of this package that decide what a stage writes: those that its code imports.

They are found by reading the source, from the module that the table of stages names. Modules of
runs are followed by what they import at their heads only, since they serve several stages; all
others by all that they import. What cannot change a number is left out: configuration, which is
compared by its values, downloads, which are checked by hash, files, errors.
"""

import ast
from functools import cache
from pathlib import Path

from dsacap.captioner.registry import CAPTIONERS
from dsacap.common.git_checkout import ROOT
from dsacap.runs.stage_table import STAGES

_LEFT_OUT = tuple(
    f"dsacap.{name}"
    for name in (
        *("config", "reporting", "captioner.registry", "data.download", "stages.download"),
        *("common.broken_pipe", "common.disk", "common.errors", "common.files"),
        *("common.git_checkout", "common.locks", "common.progress", "common.ranks"),
        *("runs.kept_rows", "runs.layout", "runs.manifest", "runs.stage_files"),
        "runs.stage_table",
    )
)
_NETWORKS = ("dsacap.vision", "dsacap.captioner", "dsacap.decoding", "dsacap.common.machine")
_AT_THE_HEAD = ("dsacap.runs",)


def files_of_stage(verb: str, captioner: str | None = None) -> list[str]:
    """Return the files whose code decides what a stage writes.

    Args:
        verb: The stage, as its manifest names it ("tune", not "train", of a tuned system).
        captioner: The captioner of the system; its code counts if it is one of this package's.

    Returns:
        Paths from the root of the checkout, as git has them: dsacap/baselines is a link.
    """
    stage = STAGES[verb]
    modules = [stage.run.split(":")[0], *stage.code]
    if captioner in CAPTIONERS:
        modules.append(CAPTIONERS[captioner].split(":")[0])
    left_out = _LEFT_OUT + (_NETWORKS if stage.without_networks else ())
    found: dict[str, Path] = {}
    while modules:
        module = modules.pop()
        if module in found or _is_in(module, left_out) or (path := _file_of(module)) is None:
            continue
        found[module] = path
        modules += _imports(path, everywhere=not _is_in(module, _AT_THE_HEAD))
    return sorted({path.resolve().relative_to(ROOT).as_posix() for path in found.values()})


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of these modules, or lies in one of these packages."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    return next(
        (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()), None
    )


@cache
def _imports(path: Path, everywhere: bool) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith("dsacap.")]
