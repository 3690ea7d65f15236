"""SPICE, stock and ours, on captions of the Karpathy test split: `pytest --benchmark-only`.

The captions are Show-Edit-Tell's: 500 images, or all 5,000 with DSACAP_BENCH_FULL=1. Stock is the
original jar on the system's Java, as its authors run it, with the scripting engine that Java has
dropped since (NASHORN_DIR). Both start a new Java, since stock cannot do otherwise.
"""

import os
from functools import partial

import pytest

from dsacap.scoring.java.jvm import end_workers
from dsacap.scoring.metrics import spice
from stock import corenlp_folder, show_edit_tell, stock_spice

IMAGES = 5000 if os.environ.get("DSACAP_BENCH_FULL") else 500


@pytest.fixture(scope="module")
def captions(real_data) -> tuple[dict[int, list[str]], dict[int, str], dict[int, str]]:
    """References, a system's captions, and the same captions backwards, none seen before."""
    references, first = show_edit_tell(real_data, IMAGES)
    return (
        references,
        first,
        {i: " ".join(reversed(caption.split())) for i, caption in first.items()},
    )


@pytest.fixture
def scorers(tmp_path, monkeypatch):
    """Ours begins with an empty cache."""
    monkeypatch.setenv("CORENLP_DIR", str(corenlp_folder()))
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path / "cache"))
    return {"stock": partial(stock_spice, folder=tmp_path), "ours": ours}


def ours(references, candidates) -> dict[int, float]:
    end_workers()  # as cold as stock
    return spice.score_spice(references, candidates, download=False)["SPICE"].per_image


@pytest.mark.parametrize("implementation", ["stock", "ours"])
def test_spice_the_first_time(benchmark, captions, scorers, implementation):
    benchmark.group = f"SPICE of {IMAGES} images, the first time"
    assert len(benchmark.pedantic(scorers[implementation], args=captions[:2], rounds=1)) == IMAGES


@pytest.mark.parametrize("implementation", ["stock", "ours"])
def test_spice_of_a_second_system(benchmark, captions, scorers, implementation):
    """Ours has parsed the references by then."""
    benchmark.group = f"SPICE of {IMAGES} images, a second system"
    references, first, second = captions
    if implementation == "ours":
        ours(references, first)
    assert (
        len(benchmark.pedantic(scorers[implementation], args=(references, second), rounds=1))
        == IMAGES
    )
