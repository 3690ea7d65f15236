"""Tests that cause faults. They are not in the default run, since each takes minutes.

Half an hour on two idle cores:

    pytest tests/faults -m faults

Kills alone, some minutes:

    pytest tests/faults -m faults -k killed

The long version, whose counts are kept:

    pytest tests/faults -m faults --kills 50 --faults-report docs/trust.json
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pipeline import smoke
from trial import Trial

from dsacap.common.files import write_json
from dsacap.export.writing import export_system
from exports import DSACAP, trained

_counts = pytest.StashKey[dict]()


def pytest_addoption(parser):
    group = parser.getgroup("faults", "tests that cause faults (tests/faults)")
    group.addoption(
        "--kills",
        type=int,
        default=5,
        help="how often to kill the pipeline (default: %(default)s)",
    )
    group.addoption(
        "--inputs",
        type=int,
        default=10_000,
        help="the number of malformed files of captions, and of inputs of all other kinds together"
        " (default: %(default)s)",
    )
    group.addoption(
        "--faults-seed",
        type=int,
        default=0,
        help="the seed of kills and of malformed inputs (default: %(default)s)",
    )
    group.addoption(
        "--faults-report", type=Path, help="a JSON file to which the counts of trials are added"
    )


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a smoke run without faults."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = smoke(folder)
    assert run.wait() == 0, (folder / "snakemake.log").read_text()[-3000:]
    return folder


@pytest.fixture(scope="session")
def exported(tiny_layout, tmp_path_factory) -> Path:
    """The folder of an exported system. Tests must not write to it."""
    folder = tmp_path_factory.mktemp("exported") / "system"
    export_system(
        trained(tiny_layout, **DSACAP, decodings={"noise": {"noise_level": 0.3}}), "ours", 0, folder
    )
    return folder


@pytest.fixture
def count(request):
    """A function that keeps the counts of a test's trials for the report."""

    def keep(**counts) -> None:
        request.config.stash.setdefault(_counts, {})[request.node.nodeid.split("/")[-1]] = counts

    return keep


@pytest.fixture
def tried(request, tmp_path, count):
    """A function that runs a test's body on its share of the inputs."""
    trial = Trial(tmp_path)

    def run(
        strategy: st.SearchStrategy,
        share: float,
        body: Callable[[Trial, object], None],
        inputs: int | None = None,
    ) -> None:
        inputs = inputs or math.ceil(share * request.config.getoption("--inputs"))
        limits = settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )

        @seed(request.config.getoption("--faults-seed") + trial.ended["inputs"])
        @limits
        @given(strategy)
        def all_of_them(one):
            trial.ended["inputs"] += 1
            body(trial, one)

        all_of_them()
        count(**trial.ended)

    return run


def pytest_sessionfinish(session):
    path, counts = (
        session.config.getoption("--faults-report", None),
        session.config.stash.get(_counts, {}),
    )
    if path and counts:
        before = json.loads(path.read_text()) if path.exists() else {}
        write_json(path, before | counts)
