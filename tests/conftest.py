import os
from pathlib import Path

import pytest
import torch
from pycocoevalcap.meteor.meteor import Meteor

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

torch.set_num_threads(int(os.environ.get("DSACAP_TEST_THREADS", "1")))  # two: `make portability`


def pytest_addoption(parser):
    group = parser.getgroup(
        "latency", "latency benchmarks (tests/benchmarks/test_system_latency.py)"
    )
    group.addoption(
        "--latency-config",
        type=Path,
        default=ROOT / "config" / "scenes.yaml",
        help="whose systems are timed",
    )
    group.addoption(
        "--latency-seconds",
        type=float,
        default=10.0,
        help="how long each row is timed at most, in up to 100 calls",
    )
    group.addoption(
        "--latency-compiled",
        action="store_true",
        help="decode through torch.compile too: a minute more a system",
    )
    group.addoption(
        "--latency-bf16", action="store_true", help="in bf16 too; on most CPUs that is slow"
    )


def pytest_collection_modifyitems(config, items):
    """Benchmarks run with --benchmark-only; a plain pytest skips them (addopts cannot say so without breaking that option).

    The file that takes longest begins first: of two processes, one would otherwise wait for it minutes at the end.
    """
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")
    if not config.getoption("benchmark_only"):
        for item in items:
            if "benchmark" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="a benchmark: run pytest --benchmark-only"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("DSACAP_REALDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set DSACAP_REALDATA)")
    return folder


@pytest.fixture
def made() -> type[HandMade]:
    return HandMade


@pytest.fixture(scope="session")
def stock_meteor():
    """pycocoevalcap's own; one for all tests, since loading its tables takes most of their time."""
    with java_environment():
        meteor = Meteor()
    yield meteor
    meteor.meteor_p.kill()
    meteor.meteor_p.communicate()


@pytest.fixture(scope="session")
def tiny_layout(tmp_path_factory) -> Layout:
    """A tiny data set with encoder, features and generator: read it, do not write to it."""
    layout = Layout(tiny_config(tmp_path_factory.mktemp("tiny")))
    make_data(layout)
    make_encoder(layout)
    make_features(layout)
    write_json(manifest_of(layout.generator), {"facts": make_generator(layout)})
    return layout


@pytest.fixture(scope="session")
def pixel_layout(tiny_layout, tmp_path_factory) -> Layout:
    """The same with the photos' pixels beside the features."""
    layout = borrow(Layout(tiny_config(tmp_path_factory.mktemp("pixels"))), tiny_layout)
    make_pixels(layout)
    return layout
