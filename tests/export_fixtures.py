"""Fixtures of an exported system, imported by several conftest.py files."""

import zipfile
from pathlib import Path

import pytest

from dsacap.export.writing import export_system
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from exports import DSACAP, trained


@pytest.fixture(scope="session")
def layout(tiny_layout) -> Layout:
    """A trained system with a decoding that draws noise, one that draws words, one with bigrams."""
    decodings = {
        "noise": {"noise_level": 0.3},
        "drawn": {"noise_level": 0, "search": "draw", "temperature": 1.0},
        "bigrams": {"noise_level": 0, "search": "viterbi", "bigram_weight": 0.5},
    }
    return trained(tiny_layout, **DSACAP, decodings=decodings)


@pytest.fixture(scope="session")
def exported(layout, tmp_path_factory) -> Path:
    """The folder of the exported system. Tests must not write to it."""
    folder = tmp_path_factory.mktemp("exported") / "system"
    export_system(layout, "ours", 0, folder)
    return folder


@pytest.fixture(scope="session")
def photos(layout, tmp_path_factory) -> dict[Path, int]:
    """The files of the test split's photos, with their ids."""
    folder = tmp_path_factory.mktemp("photos")
    with zipfile.ZipFile(layout.data / "images" / "test.zip") as archive:
        archive.extractall(folder)
    return {
        folder / example.image.file_name: example.image_id
        for example in Inputs(layout).examples("test")
    }
