"""Rules for the code: what must not be called, how long files may be, and who imports whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("dsacap/**/*.py"), *ROOT.glob("baselines/**/*.py")])


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def test_imports_keep_their_direction():
    """Check the contracts in .importlinter, also if only the tests are run."""
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not installed")
    found = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_dangerous_is_called(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"), (
                f"line {node.lineno}: {name}"
            )
            assert name != "torch.load" or options.get("weights_only") is True, (
                f"line {node.lineno}: unpickles more than tensors"
            )
            assert not options.get("shell"), f"line {node.lineno}: shell=True"
            assert not options.get("trust_remote_code"), (
                f"line {node.lineno}: runs code that comes with a model"
            )


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_downloaded_only_where_hashes_are_checked(path):
    """segments.py is used by fetch.py alone, which checks hashes."""
    if path.relative_to(ROOT).as_posix() not in (
        "dsacap/data/download/segments.py",
        "dsacap/scoring/java/corenlp.py",
    ):
        assert not imports_of(path) & {
            "requests",
            "urllib.request",
            "urllib3",
            "httpx",
            "huggingface_hub",
            "ftplib",
        }


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= 350


def test_the_compiler_is_loaded_only_to_compile():
    """A decorator of torch.compiler once cost every stage of the pipeline five seconds."""
    code = (
        "import sys, dsacap.stages.train, dsacap.stages.score, dsacap.baselines.autoregressive;"
        " sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_dsacap_common_and_the_command_line_start_without_torch():
    """Portable arithmetic is chosen before torch is loaded, and `dsacap --help` is fast."""
    modules = [
        f"dsacap.common.{path.stem}" for path in sorted(ROOT.glob("dsacap/common/[a-z]*.py"))
    ]
    code = (
        f"import sys, dsacap.cli.main, dsacap.cli.__main__, {', '.join(modules)};"
        " sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
