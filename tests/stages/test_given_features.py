"""A run on features that the user has, without photos or encoder."""

from pathlib import Path

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.config.experiment import parse_config
from dsacap.export.encoders import write_encoder
from dsacap.runs.layout import Layout
from dsacap.runs.stage_files import planned_files
from dsacap.stages.caption import caption_split
from dsacap.stages.data import make_data
from dsacap.stages.degrade import degrade_photos
from dsacap.stages.disk_estimate import predicted_sizes
from dsacap.stages.download import download
from dsacap.stages.encoder import make_encoder
from dsacap.stages.features import make_features
from dsacap.stages.train import train_system
from dsacap.timing.latency import time_decodings
from dsacap.timing.random_encoder import random_encoder
from exports import DSACAP
from helpers import tiny_config
from small_coco import small_coco


@pytest.fixture
def layout(tmp_path) -> Layout:
    """A small COCO whose photos are not there, and features of its images."""
    coco = small_coco(tmp_path)
    coco.load()
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(1, 9):
        np.savez(folder / f"{i}.npz", features=np.random.default_rng(i).normal(size=(4, 6)))
    dataset = {
        "kind": "coco",
        "annotations": [str(path) for path in coco.annotations()],
        "images": {"photos": "no-photos"},
        "random_split": {"val": 2, "test": 2},
    }
    systems = {"ours": DSACAP | {"decodings": {"clean": {"noise_level": 0}}}}
    training = {"steps": 2, "batch_size": 2, "evaluations": 1, "validation_images": 2}
    changes = {"dataset": dataset, "encoder": {"features": str(folder)}, "systems": systems}
    return Layout(tiny_config(tmp_path / "work", generator=None, training=training, **changes))


def test_everything_runs_without_photos(layout):
    make_data(layout)
    assert predicted_sizes(layout) == []
    assert make_encoder(layout) == {"features": str(layout.config.encoder.features)}
    facts = make_features(layout)
    assert (facts["tokens"], facts["channels"], facts["images"]) == (4, 6, 8)
    train_system(layout, "ours", 0)
    caption_split(layout, "ours", 0)
    assert len(read_json(layout.captions("ours", 0))["clean"]) == 2
    rows = time_decodings(layout.config)["rows"]
    assert {row["system"] for row in rows} == {"ours"}


def test_a_run_without_downloads_says_why_there_are_none(layout):
    with pytest.raises(UserError, match="nothing to download: the configuration has no downloads"):
        download(layout)
    with pytest.raises(UserError, match=r"x\.zip: not among .*; known: none, because the config"):
        download(layout, Path("x.zip"))


def test_photos_are_not_downloaded(layout, tmp_path):
    remote = {"url": "http://localhost/a", "size": 10**9, "md5": "0" * 32}
    split = tmp_path / "split.json"
    dataset = layout.config.dataset.model_dump(mode="json", exclude_unset=True)
    dataset |= {"random_split": None, "karpathy": str(split)}
    dataset["downloads"] = {
        "no-photos": remote,
        str(tmp_path / "split.zip"): remote | {"size": 10, "unpack": {str(split): None}},
    }
    config = layout.config.model_dump(mode="json", exclude_unset=True) | {"dataset": dataset}
    [need] = predicted_sizes(Layout(parse_config(config, "test")))
    assert need.bytes < 100
    config["encoder"] = {"name": "timm:test_vit"}
    needs = predicted_sizes(Layout(parse_config(config, "test")))
    assert max(need.bytes for need in needs) == 10**9


def test_photos_are_no_input_and_cannot_be_encoded(layout):
    needed, _ = planned_files(layout, "data", None)
    assert not [path for path in needed if "no-photos" in path.name]
    make_data(layout)
    with pytest.raises(UserError, match=r"encoder\.features: there is no encoder of photos here"):
        degrade_photos(layout)
    settings = layout.config.encoder
    with pytest.raises(UserError, match="there is no encoder to measure"):
        random_encoder(settings)
    with pytest.raises(UserError, match="an export needs the encoder of photos"):
        write_encoder(settings, layout.encoder, layout.root)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"features": "mine", "name": "timm:test_vit"}, "give either train"),
        ({"features": "mine", "views": 2}, "views, grid and on_bad_image belong to an encoder"),
        ({"features": "mine", "sha256": "0" * 64}, "pretrained and sha256 belong to name"),
    ],
)
def test_what_belongs_to_an_encoder_is_refused(tmp_path, encoder, message):
    with pytest.raises(UserError, match=message):
        tiny_config(tmp_path, encoder=encoder)


def test_an_encoder_that_something_needs_is_asked_for(tmp_path):
    (tmp_path / "pipeline").mkdir()
    given = {"encoder": {"features": "mine"}}
    with pytest.raises(UserError, match=r"generator\.encoder: pictures of a pipeline have to be"):
        tiny_config(tmp_path, generator={"name": str(tmp_path / "pipeline")}, **given)
    tuned = {"fine_tune": {"learning_rate": 1e-5}, "steps": 2}
    with pytest.raises(UserError, match=r"but encoder\.features has no weights"):
        tiny_config(tmp_path, training=tuned, **given)
