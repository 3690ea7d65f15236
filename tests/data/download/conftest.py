from pathlib import Path

import pytest

from downloaded import CONTENT
from dsacap.data.download import segments
from web import MIB, serving


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """Record the seconds between tries instead of waiting, and make a file have three segments."""
    waits: list[float] = []
    monkeypatch.setattr(segments, "_pause", lambda seconds, stop: waits.append(seconds))
    monkeypatch.setattr(segments, "SEGMENT", 2 * MIB)
    return waits


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "file.bin"
