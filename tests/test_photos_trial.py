"""The whole pipeline on real COCO photos with a tiny budget, so that its scores are meaningless."""

import pandas as pd

from dsacap.common.files import sha256
from dsacap.reporting.table import write_tables
from dsacap.runs.layout import HUMAN, Layout, manifest_of
from dsacap.runs.manifest import run_stage
from dsacap.stages.caption import caption_split
from dsacap.stages.data import make_data
from dsacap.stages.encoder import make_encoder
from dsacap.stages.features import make_features
from dsacap.stages.generator import make_generator
from dsacap.stages.latency import time_systems
from dsacap.stages.score import score_system
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system
from helpers import tiny_config


def test_838_coco_photos(real_data, tiny_layout, tmp_path):
    photos = real_data / "photos"
    config = tiny_config(
        tmp_path,
        name="photos",
        dataset={
            "kind": "coco",
            "annotations": [str(photos / "captions_coco.json")],
            "images": {"coco": str(photos / "coco_96px.zip")},
            "random_split": {"val": 50, "test": 50},
            "expected": {"train": 738, "val": 50, "test": 50},
        },
        text={"min_count": 2, "max_words": 20},
        encoder={"name": f"local-dir:{tiny_layout.encoder}"},
    )
    layout = Layout(config)

    def run(stage, output):
        return run_stage(stage.__name__, config, lambda: stage(layout), manifest_of(output))[
            "facts"
        ]

    def run_row(stage, output, *row):
        run_stage(stage.__name__, config, lambda: stage(layout, *row), manifest_of(output))

    assert run(make_data, layout.data)["captions"] == 4191
    weights = "open_clip_model.safetensors"
    assert run(make_encoder, layout.encoder)["weights"] == {
        "file": weights,
        "sha256": sha256(tiny_layout.encoder / weights),
    }
    features = run(make_features, layout.features)
    assert features["images"] == 838 and not features["skipped"]
    assert set(run(make_generator, layout.generator)["auc"]) == {
        "wrong",
        "nearest photo",
        "unpaired",
        "random",
    }
    run_row(score_system, layout.scores(HUMAN, 0), HUMAN, 0)
    for row in layout.runs:
        tuned = layout.config.systems[row[0]].tuned_from
        run_row(tune_system if tuned else train_system, layout.system(*row), *row)
        run_row(caption_split, layout.captions(*row), *row)
        run_row(score_system, layout.scores(*row), *row)
    run(time_systems, layout.latency)
    write_tables(layout)
    cider = pd.read_csv(layout.table.with_suffix(".csv")).query("metric == 'held_out_CIDEr'")
    assert set(cider.system) == {"human", "ar", "dsacap", "dsacap-rl"} and (cider.n == 50).all()
    assert "grammatical" not in layout.table.read_text()  # truth is only known of scenes
