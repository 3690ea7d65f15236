"""Which files of this package decide what a stage writes: those that its code imports, found by reading the source.

A stage's own module is followed by what it imports at its head alone, since it serves several stages; all others by all that they import.
What carries no number is left out: configuration, which is compared by its values, downloads, which are checked by hash, files, errors.
"""

import ast
from functools import cache
from pathlib import Path

from dsacap.checkout import ROOT
from dsacap.registry import CAPTIONERS

_PLUMBING = tuple(
    f"dsacap.{name}"
    for name in (
        *("checkout", "config", "errors", "files", "launch", "layout", "ledger", "locks", "progress", "registry", "reporting"),
        *("data.archives", "data.download", "data.ranges", "stages.downloads"),
    )
)
_PACKAGES = ("dsacap.", "baselines.")
_OF_STAGE = {
    "data": ("dsacap.stages.data",),
    "encoder": ("dsacap.stages.data", "dsacap.vision.tiny_clip", "dsacap.vision.encoder"),
    "features": ("dsacap.stages.data", "dsacap.vision.encoding", "dsacap.vision.encoder"),
    "pixels": ("dsacap.stages.data", "dsacap.vision.pixels", "dsacap.vision.encoder"),
    "generator": ("dsacap.stages.generator", "dsacap.training.caption_prior", "dsacap.vision.generator", "dsacap.vision.generator_check"),
    "teach": ("dsacap.stages.systems",),
    "train": ("dsacap.stages.systems", "dsacap.training.loop"),
    "tune": ("dsacap.stages.systems", "dsacap.training.loop", "dsacap.training.reinforce", "dsacap.training.rewards"),
    "caption": ("dsacap.stages.systems",),
    "checkpoint": ("dsacap.stages.checkpoints", "baselines.pretrained"),
    "score": ("dsacap.stages.scores", "dsacap.scoring.score", "dsacap.scoring.jvm_worker"),  # the worker is a program of its own
    "inspect": ("dsacap.stages.inspect",),
    "time": ("dsacap.timing.latency", "dsacap.timing.worker"),
}
_WITHOUT_NETWORKS = ("data", "score")  # what these share a module with looks at photos; of a captioner they know ids of special words
_NETWORKS = ("dsacap.vision", "dsacap.captioner", "dsacap.captioning")
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
        if module in found or module.startswith(left_out) or (path := _file_of(module)) is None:
            continue
        found[module] = path
        modules += _imports(path, not module.startswith("dsacap.stages"))
    return sorted({path.relative_to(ROOT).as_posix() for path in found.values()})


def _file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()), None)


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
