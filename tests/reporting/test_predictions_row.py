"""A predictions file as a row of the table."""

import json

import pandas as pd
import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.config.sections import Predictions
from dsacap.data.prepared import load_examples
from dsacap.reporting.table import write_tables
from dsacap.runs.layout import PREDICTIONS, Layout, manifest_of
from dsacap.runs.manifest import run_stage
from dsacap.stages.score import score_system


@pytest.fixture
def with_predictions(layout, tiny_layout, tmp_path) -> Layout:
    """The table's result files, and a predictions file: the second reference of each test image."""
    examples = load_examples(tiny_layout.data, "test")
    records = [{"image_id": e.image_id, "caption": e.image.captions[1]} for e in examples]
    (tmp_path / "theirs.json").write_text(json.dumps(records))
    row = Predictions(
        file=tmp_path / "theirs.json",
        label="Theirs",
        citation="A. Author 2025",
        trained_on="COCO, 400M pairs before",
    )
    config = layout.config.model_copy(update={"predictions": {"theirs": row}})
    other = Layout(config)
    for name in ("captions.jsonl", "scenes.json"):
        (other.data / name).write_bytes((tiny_layout.data / name).read_bytes())
    return other


def test_its_scores_are_shown_with_the_others(with_predictions):
    facts = run_stage(
        "score",
        with_predictions.config,
        lambda: score_system(with_predictions, "theirs", 0),
        manifest_of(with_predictions.scores("theirs", 0)),
    )
    assert facts["facts"]["sha256"] == sha256(with_predictions.config.predictions["theirs"].file)
    write_tables(with_predictions)
    text = with_predictions.table.read_text()
    [line] = [
        line
        for line in text.split("## Quality")[1].split("\n## ")[0].splitlines()
        if line.startswith("| Theirs")
    ]
    assert PREDICTIONS in line
    assert "| Theirs" not in text.split("## Latency")[1].split("## Training")[0]
    assert "| A. Author 2025 | COCO, 400M pairs before |" in " ".join(text.split())
    numbers = pd.read_csv(with_predictions.table.with_suffix(".csv"))
    theirs = (
        numbers[(numbers.system == "theirs") & (numbers.decoding == PREDICTIONS)]
        .set_index("metric")
        .value
    )
    assert theirs["true"] == 100 and theirs["CIDEr"] > 0 and "train_cpu_seconds" not in theirs


def test_a_file_that_lacks_an_image_is_refused(with_predictions):
    file = with_predictions.config.predictions["theirs"].file
    file.write_text(json.dumps(json.loads(file.read_text())[1:]))
    with pytest.raises(UserError, match=r"no prediction for 1 of 6 images"):
        score_system(with_predictions, "theirs", 0)
