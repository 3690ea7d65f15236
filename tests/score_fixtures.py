"""References and predictions of three images, scored with an empty cache and without SPICE."""

import json
import shutil
from pathlib import Path

import pytest

from dsacap.cli.main import main
from dsacap.scoring.java import corenlp
from dsacap.scoring.java.jvm import METEOR_FOLDER
from dsacap.scoring.metrics.paraphrases import paraphrase_index

COCO = {
    "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3)],
    "annotations": [
        {"id": 10 * i + k, "image_id": i, "caption": caption}
        for i, captions in {
            1: ["A red dog.", "The dog is red!"],
            2: ["A cat sleeps.", "Sleeping cat"],
            3: ["Two birds", "Birds, two."],
        }.items()
        for k, caption in enumerate(captions)
    ],
}


@pytest.fixture(scope="module")
def index() -> Path:
    """The index of METEOR's paraphrases, which takes 20 s to build."""
    paraphrase_index(METEOR_FOLDER / "data" / "paraphrase-en.gz")
    return next(corenlp.cache_folder().glob("paraphrases-*"))


@pytest.fixture
def no_corenlp(tmp_path, monkeypatch, index):
    """Use an empty cache without downloads: SPICE itself is tested in tests/scoring."""
    for cache in ("cache", "other"):
        (tmp_path / cache).mkdir()
        shutil.copy(index, tmp_path / cache)
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CORENLP_DIR", raising=False)
    for source in ("_from_maven", "_from_zip"):
        monkeypatch.setattr(corenlp, source, _unreachable)


def _unreachable(*_):
    raise OSError("no network")


@pytest.fixture
def files(tmp_path):
    def write(name, data):
        (tmp_path / name).write_text(json.dumps(data))
        return tmp_path / name

    references = write("references.json", COCO)
    predicted = {1: "a red dog", 2: "a dog sleeps", 3: "birds"}
    predictions = write(
        "predictions.json", [{"image_id": i, "caption": c} for i, c in predicted.items()]
    )
    return tmp_path, predictions, references, write


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def run_score(*arguments) -> int:
    return run("score", *arguments, "--no-spice")
