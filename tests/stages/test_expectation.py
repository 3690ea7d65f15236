"""A system that is worse than expected ends the run, and costs nothing when the run goes on."""

import re

import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_jsonl
from dsacap.runs.layout import Layout
from dsacap.stages.expectation import check_expected
from dsacap.stages.train import train_system
from dsacap.training import loop
from helpers import borrow, tiny_config


@pytest.fixture
def expecting(tiny_layout, tmp_path):
    """Return a layout in which so much is expected of AR."""

    def make(cider: float | None) -> Layout:
        config = tiny_config(tmp_path)
        systems = {name: system.model_dump() for name, system in config.systems.items()}
        if cider is not None:
            systems["ar"]["expected"] = {"cider": cider, "source": "a paper"}
        return borrow(Layout(tiny_config(tmp_path, systems=systems)), tiny_layout)

    return make


def test_a_system_that_is_worse_stops_the_run_and_says_what_to_look_at(expecting, monkeypatch):
    layout = expecting(999)
    with pytest.raises(UserError) as error:
        train_system(layout, "ar", 0)
    first, *lines = str(error.value).splitlines()
    assert re.match(
        r"ar: CIDEr is [\d.]+ on 6 validation images, and at least 999 was expected \(a paper\)",
        first,
    )
    features, vocabulary, training, how_to_go_on = lines
    assert "4 tokens of 256 channels, 1 view" in features
    assert re.search(r"min_count and max_words; \d+ words", vocabulary)
    curve = layout.system("ar", 0) / "train.jsonl"
    assert "steps (3.0 epochs)" in training and str(curve) in training
    assert "systems.ar.expected.cider" in how_to_go_on
    assert read_jsonl(curve)[-1]["step"] == 12

    # Without the expectation the same folder is used, and no step is taken again.
    monkeypatch.setattr(loop.Step, "__call__", lambda *_: pytest.fail("trained again"))
    (layout.system("ar", 0) / "model.safetensors").unlink()  # as Snakemake does
    without = expecting(None)
    assert without.system("ar", 0) == layout.system("ar", 0)
    assert train_system(without, "ar", 0)["steps"] == 12
    assert (layout.system("ar", 0) / "model.safetensors").exists()


def test_it_is_on_the_scale_of_the_tables(expecting):
    facts = {"val_CIDEr": 1.149, "images_seen": 72}
    check_expected(expecting(114.9), "ar", 0, facts)
    check_expected(expecting(None), "ar", 0, facts)
    with pytest.raises(UserError, match=r"ar: CIDEr is 114\.9 on 6 .* at least 115 was expected"):
        check_expected(expecting(115), "ar", 0, facts)


def test_it_changes_no_key_and_names_what_is_checked_first(expecting):
    plain, checked = expecting(None), expecting(115)
    assert plain.runs == checked.runs
    assert all(plain.system(*row) == checked.system(*row) for row in plain.runs)
    assert plain.checked_first == [] and checked.checked_first == [("ar", 0)]
