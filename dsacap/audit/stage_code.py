"""Which files of this package decide what a stage writes: those that its code imports, found by reading the source.

Modules of stages and runs are followed by what they import at their heads alone, since they serve several stages; all others by all that
they import. What carries no number is left out: configuration, which is compared by its values, downloads, which are checked by hash,
files, errors.
"""

import ast
from functools import cache
from pathlib import Path

from dsacap.captioner.registry import CAPTIONERS
from dsacap.common.git_checkout import ROOT

_PLUMBING = tuple(
    f"dsacap.{name}"
    for name in (
        *("config", "reporting", "captioner.registry", "data.download", "stages.download"),
        *(
            f"common.{name}"
            for name in (
                "broken_pipe",
                "disk",
                "errors",
                "files",
                "git_checkout",
                "locks",
                "progress",
                "ranks",
            )
        ),
        *(f"runs.{name}" for name in ("kept_rows", "layout", "manifest", "stage_files")),
    )
)
_PACKAGES = ("dsacap.", "baselines.")
_ENCODERS = "dsacap.vision.encoders.load"
_OF_STAGE = {
    "data": ("dsacap.stages.data",),
    "encoder": ("dsacap.stages.encoder", "dsacap.vision.encoders.tiny_clip", _ENCODERS),
    "features": ("dsacap.stages.features", "dsacap.vision.features.encode", _ENCODERS),
    "pixels": ("dsacap.stages.features", "dsacap.vision.features.pixels", _ENCODERS),
    "generator": (
        *("dsacap.stages.generator", "dsacap.training.train_caption_prior"),
        *("dsacap.vision.generators.generator", "dsacap.vision.generators.generator_check"),
    ),
    "teach": ("dsacap.stages.train",),
    "train": ("dsacap.stages.train", "dsacap.training.loop"),
    "tune": (
        "dsacap.stages.train",
        "dsacap.training.loop",
        "dsacap.training.reinforce",
        "dsacap.training.rewards",
    ),
    "caption": ("dsacap.stages.caption",),
    "checkpoint": ("dsacap.stages.checkpoint", "baselines.pretrained"),
    "score": (
        "dsacap.stages.score",
        "dsacap.scoring.score",
        "dsacap.scoring.java.jvm_worker",
    ),  # the worker is a program of its own
    "inspect": ("dsacap.stages.inspect_system",),
    "time": ("dsacap.timing.latency", "dsacap.timing.worker_process"),
}
_WITHOUT_NETWORKS = ("data", "score")  # what these share a module with looks at photos
_NETWORKS = ("dsacap.vision", "dsacap.captioner", "dsacap.decoding", "dsacap.common.machine")
_AT_THE_HEAD = ("dsacap.stages", "dsacap.runs")
_BY_NGRAMS = "dsacap.training.ngram_objective"


def files_of_stage(verb: str, captioner: str | None = None) -> list[str]:
    """Paths from the root of the checkout. `verb` is that of the manifest ("tune", not "train", of a tuned system); `captioner` is the
    system's, whose code counts where it is one of ours."""
    modules = list(_OF_STAGE[verb]) + ([_BY_NGRAMS] if verb == "tune" else [])
    if captioner in CAPTIONERS:
        modules.append(CAPTIONERS[captioner].split(":")[0])
    left_out = _PLUMBING + (_NETWORKS if verb in _WITHOUT_NETWORKS else ())
    found: dict[str, Path] = {}
    while modules:
        module = modules.pop()
        if module in found or _is_in(module, left_out) or (path := _file_of(module)) is None:
            continue
        found[module] = path
        modules += _imports(path, everywhere=not _is_in(module, _AT_THE_HEAD))
    return sorted({path.relative_to(ROOT).as_posix() for path in found.values()})


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
    return [name for name in names if name.startswith(_PACKAGES)]
