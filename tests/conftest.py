import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pycocoevalcap.meteor.meteor import Meteor

from dsacap.common import git_checkout
from dsacap.common.files import write_json
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.data import make_data
from dsacap.stages.encoder import make_encoder
from dsacap.stages.features import make_features
from dsacap.stages.generator import make_generator
from dsacap.stages.pixels import make_pixels
from dsacap.text.ptb_tokenizer import java_environment
from handmade import HandMade
from helpers import borrow, tiny_config

ROOT = Path(__file__).resolve().parents[1]

# Servers of tests run on this machine; a proxy that its environment names must not be asked.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
# Text is wrapped at the width of the terminal, which a test must not depend on.
os.environ["COLUMNS"] = "140"

torch.set_num_threads(
    int(os.environ.get("DSACAP_TEST_THREADS", "1"))
)  # `make portability` uses two


def pytest_addoption(parser):
    group = parser.getgroup(
        "latency", "latency benchmarks (tests/benchmarks/test_system_latency.py)"
    )
    group.addoption(
        "--latency-config",
        type=Path,
        default=ROOT / "config" / "scenes.yaml",
        help="the configuration whose systems are timed (default: %(default)s)",
    )
    group.addoption(
        "--latency-seconds",
        type=float,
        default=10.0,
        help="most seconds for timing a row, in up to 100 calls (default: %(default)s)",
    )
    group.addoption(
        "--latency-compiled",
        action="store_true",
        help="decode through torch.compile too, which takes another minute per system",
    )
    group.addoption(
        "--latency-bf16", action="store_true", help="decode in bf16 too, which is slow on most CPUs"
    )


def pytest_collection_modifyitems(config, items):
    """Skip benchmarks unless --benchmark-only is given, and put the longest file first.

    addopts cannot skip them without breaking that option. If the longest file began late, one of
    two processes would wait for it for minutes at the end.
    """
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")
    if not config.getoption("benchmark_only"):
        for item in items:
            if "benchmark" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="a benchmark: run pytest --benchmark-only"))


@pytest.fixture(autouse=True)
def seeded():
    """Seed torch's own generator, so that no test depends on those that ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("DSACAP_REALDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set DSACAP_REALDATA)")
    return folder


@pytest.fixture
def commit(tmp_path, monkeypatch) -> Callable[[dict[str, str]], str]:
    """Return a function that commits these files alone, in a repository instead of the checkout."""
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody")
    # The user's settings may sign commits, or run hooks; git's variables may name another folder.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    git = git_checkout.git

    def made(files: dict[str, str]) -> str:
        git("rm", "-rfq", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git("add", "-A")
        assert git("commit", "-q", "--allow-empty", "-m", "x") is not None
        return git("rev-parse", "HEAD").strip()

    return made


@pytest.fixture
def made() -> type[HandMade]:
    return HandMade


@pytest.fixture(scope="session")
def stock_meteor():
    """pycocoevalcap's METEOR, shared, since loading its tables takes most of the tests' time."""
    with java_environment():
        meteor = Meteor()
    yield meteor
    meteor.meteor_p.kill()
    meteor.meteor_p.communicate()


@pytest.fixture(scope="session")
def tiny_layout(tmp_path_factory) -> Layout:
    """A tiny data set with encoder, features and generator. Tests must not write to it."""
    layout = Layout(tiny_config(tmp_path_factory.mktemp("tiny")))
    make_data(layout)
    make_encoder(layout)
    make_features(layout)
    write_json(manifest_of(layout.generator), {"facts": make_generator(layout)})
    return layout


@pytest.fixture(scope="session")
def pixel_layout(tiny_layout, tmp_path_factory) -> Layout:
    """The same, with the photos' pixels as well as their features."""
    layout = borrow(Layout(tiny_config(tmp_path_factory.mktemp("pixels"))), tiny_layout)
    make_pixels(layout)
    return layout
