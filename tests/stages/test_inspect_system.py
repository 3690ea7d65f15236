import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.inspect_system import inspect_system
from helpers import tiny_config


def test_the_inside_is_recorded_in_words_for_some_test_images(tiny_layout, tmp_path, monkeypatch):
    config = tiny_layout.config
    layout = Layout(tiny_config(config.work, inspection={"images": 3, "steps": 4}))
    assert layout.data == tiny_layout.data and layout.inspected == [("dsacap", 0), ("dsacap-rl", 0)]
    assert layout.inside("dsacap", 0) != tiny_layout.inside("dsacap", 0)
    monkeypatch.setattr(Layout, "inside", lambda self, system, seed: tmp_path / "inside.json")
    fresh = Inputs.captioner
    monkeypatch.setattr(
        Inputs, "captioner", lambda self, system, seed: fresh(self, system)
    )  # untrained
    facts = inspect_system(layout, "dsacap", 0)
    found = read_json(tmp_path / "inside.json")
    test = [example.image_id for example in Inputs(layout).examples("test")]
    assert [int(image_id) for image_id in found["images"]] == test[::2] and found[
        "decoding"
    ] == "K=1"
    assert facts == {"decoding": "K=1", "images": 3, "steps": 4}
    words = set(Inputs(layout).vocabulary.words)
    for inside in found["images"].values():
        assert len(inside["frames"]) == 4 and set(inside["caption"].split()) <= words
        assert {
            word for vertex in inside["graph"]["vertices"] for word, _ in vertex["words"]
        } <= words


def test_a_system_without_an_inside_is_refused(tiny_layout):
    with pytest.raises(
        UserError, match=r"ar \(seed 0\): shows nothing of its inside; .*dsacap \(seed 0\)"
    ):
        inspect_system(tiny_layout, "ar", 0)
