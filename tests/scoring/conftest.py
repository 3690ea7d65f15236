from pathlib import Path

import pytest

from dsacap.scoring.java.jvm import parser_workers
from dsacap.scoring.metrics import known_tuples, spice
from fake_parser import FakeJava
from stock import corenlp_folder


@pytest.fixture
def java(tmp_path, monkeypatch):
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path))
    monkeypatch.setattr(spice, "corenlp_jars", lambda download, models=True: [Path("code.jar")])
    return FakeJava()


@pytest.fixture
def new_cache(tmp_path, monkeypatch):
    """An empty cache of tuples and no shipped ones, with CoreNLP as found on this machine."""
    monkeypatch.setenv("CORENLP_DIR", str(corenlp_folder()))
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path))
    monkeypatch.setattr(known_tuples, "FOLDER", tmp_path / "none")
    yield
    for worker in parser_workers():  # they take 0.7 GB each
        worker.close()
