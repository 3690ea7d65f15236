import numpy as np
import pandas as pd
import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.reporting.robustness import write_robustness
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.degrade import degrade_photos
from dsacap.stages.score_degraded import score_degraded
from dsacap.vision.features.store import FeatureStore
from helpers import borrow, tiny_config

KINDS = {"noise": [20.0], "blur": [3.0], "jpeg": [10.0], "darkness": [0.5, 0.2]}


@pytest.fixture(scope="module")
def layout(tiny_layout, tmp_path_factory):
    config = tiny_config(tmp_path_factory.mktemp("degraded"), robustness=KINDS)
    return borrow(Layout(config), tiny_layout)


def test_every_row_is_scored_on_degraded_photos_and_shown_in_a_table(layout, monkeypatch):
    facts = degrade_photos(layout)
    assert facts == {"images": 6, "degradations": 5}
    clean = FeatureStore(layout.features)
    dark = FeatureStore(layout.degraded_as("darkness", 0.2))
    test = [example.image_id for example in Inputs(layout).examples("test")]
    assert not clean.read(test).allclose(dark.read(test), atol=0.1)
    assert dark.mean.equal(clean.mean)  # standardised as in use

    untrained = Inputs.captioner
    monkeypatch.setattr(Inputs, "captioner", lambda self, system, seed: untrained(self, system))
    for system in ("ar", "dsacap"):
        score_degraded(layout, system, 0)
        code = {"commit": "c0ffee", "dirty": False}
        write_json(
            manifest_of(layout.robustness(system, 0)), {"code": code, "host": {"cpu": "abacus"}}
        )
    found = read_json(layout.robustness("dsacap", 0))
    assert found["decoding"] == "K=1"
    ways = [(part["kind"], part["strength"]) for part in found["degraded"]]
    assert ways == [("none", 0.0), *layout.config.robustness.degradations]
    for part in found["degraded"]:
        assert part["scores"].keys() == {"CIDEr", "true"}
        assert part["captions"].keys() == part["scores"]["CIDEr"].keys() == set(map(str, test))

    write_robustness(layout)
    text = layout.robustness_table.read_text()
    assert "## CIDEr" in text and "## true" in text
    [*_, line] = [line for line in text.splitlines() if line.startswith("| dsacap ")]
    assert len(line.split("|")) == 2 + 2 + 1 + 2  # names, as it is, and two strengths
    table = pd.read_csv(layout.robustness_table.with_suffix(".csv"))
    assert len(table) == 2 * 6 * 2
    clean_rows = table[table.kind == "none"].dropna()
    assert np.allclose(clean_rows.left, 100) and (table.images == 6).all()


def test_a_table_without_rows_says_what_to_run(tiny_layout, tmp_path):
    layout = Layout(tiny_config(tmp_path))
    with pytest.raises(UserError, match="dsacap score-degraded"):
        write_robustness(layout)
