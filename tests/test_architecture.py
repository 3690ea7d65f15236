"""The rules of the house: who may import whom, what may not be called, how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("dsacap/**/*.py"), *ROOT.glob("baselines/**/*.py")])

# importer (path prefix) -> packages that it must not reach into
FORBIDDEN = {
    "dsacap/method": ("dsacap.training", "dsacap.scoring", "dsacap.timing", "dsacap.reporting", "dsacap.stages", "dsacap.cli"),
    "baselines": ("dsacap.training", "dsacap.scoring", "dsacap.timing", "dsacap.reporting", "dsacap.stages", "dsacap.cli", "dsacap.method"),
    "dsacap/scoring": ("dsacap.method", "baselines", "dsacap.training", "dsacap.captioner", "dsacap.layers", "torch"),
    "dsacap/reporting": ("dsacap.method", "baselines", "dsacap.training", "dsacap.vision"),
    "dsacap/audit": ("dsacap.method", "baselines", "dsacap.training", "dsacap.vision", "dsacap.stages", "dsacap.timing", "torch"),
    "dsacap/export": ("dsacap.method", "baselines", "dsacap.training", "dsacap.timing"),
    "dsacap/data": ("dsacap.method", "baselines", "dsacap.training", "dsacap.vision", "dsacap.reporting"),
}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_their_direction(path):
    place = path.relative_to(ROOT).as_posix()
    for importer, packages in FORBIDDEN.items():
        if place.startswith(importer):
            wrong = [name for name in imports_of(path) for package in packages if name == package or name.startswith(f"{package}.")]
            assert not wrong, f"{place} imports {wrong}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_dangerous_is_called(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"), f"line {node.lineno}: {name}"
            assert name != "torch.load" or options.get("weights_only") is True, f"line {node.lineno}: unpickles more than tensors"
            assert not options.get("shell"), f"line {node.lineno}: shell=True"
            assert not options.get("trust_remote_code"), f"line {node.lineno}: runs code that a model brings"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_fetched_is_fetched_where_hashes_are_checked(path):
    """In ranges.py, for download.py alone, which checks what came."""
    if path.relative_to(ROOT).as_posix() not in ("dsacap/data/ranges.py", "dsacap/scoring/corenlp.py"):
        assert not imports_of(path) & {"requests", "urllib.request", "urllib3", "httpx", "huggingface_hub", "ftplib"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= 350


def test_the_compiler_is_loaded_by_who_compiles():
    """A decorator of torch.compiler once cost every stage of the pipeline five seconds."""
    code = "import sys, dsacap.stages.systems, dsacap.stages.scores, baselines.autoregressive; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
