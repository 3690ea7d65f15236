import dataclasses

import pandas as pd
import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.reporting import table
from dsacap.reporting.markdown import render
from dsacap.reporting.table import write_sample_table, write_tables
from dsacap.reporting.table_file import COLUMNS, load_table
from dsacap.runs.layout import manifest_of
from helpers import score


def line_of(markdown: str, start: str, part: str) -> list[str]:
    section = markdown.split(f"## {part}")[1].split("\n## ")[0]
    return next(
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith(f"| {start}")
    )


def test_markdown_shows_the_numbers(layout):
    write_tables(layout)
    text = layout.table.read_text()
    assert (
        line_of(text, "References", "Beside the references")[2] == "150.0 ± 10.0"
        and line_of(text, "dsacap", "Beside the references")[2] == "80.0 (sd 0.0)"
    )
    assert (
        line_of(text, "References", "Beside the references")[-1] == "25.0"
        and "metric|of:0.25" in text
    )
    assert "References" not in text.split("## Quality")[1].split("\n## ")[0]
    assert line_of(text, "ar †", "Quality")[1:4] == [
        "greedy",
        "105.0 ± 10.0 (sd 7.1)",
        "25.0 (sd 0.0)",
    ]
    assert line_of(text, "dsacap", "Quality")[1] == "K=1"
    assert line_of(text, "dsacap", "Latency")[2:5] == ["2.0", "3.0", "500"]
    assert line_of(text, "Encoder", "Latency")[2] == "1.0"
    of_first = line_of(text, "dsacap", "Trade-off")
    assert of_first[1:4] == ["K=1", "0dsacapx", "100.0"] and of_first[5:] == [
        "2.0 *",
        "512",
        "1,234",
        "9",
    ]
    assert line_of(text, "ar", "Training")[1:] == ["1,234", "72", "9", "90.0"]
    assert line_of(text, "References", "Diversity")[1:3] == ["references", "0.500"]
    assert (
        "Of 32 images captioned one by one" in text
        and "except 1 of ar seed 0, greedy; 1 of ar seed 0, T=1; " in text
    )
    assert "commit c0ffee0 with local changes" in text and "skipped photos: 1" in text
    assert "SPICE: switched off" in text and "still rising" in text


def test_a_row_with_an_encoder_of_its_own_is_marked(layout):
    write_tables(layout)
    assert "‡" not in layout.table.read_text()
    tuned = layout.config.systems["dsacap"].model_copy(
        update={"training": {"fine_tune": {"learning_rate": 0.001}}}
    )
    config = layout.config.model_copy(update={"systems": layout.config.systems | {"dsacap": tuned}})
    tuned_table = dataclasses.replace(load_table(layout.table), parsed=config)
    text = render(tuned_table, no_spice=None, version="0")
    assert (
        line_of(text, "dsacap ‡", "Quality")
        and line_of(text, "dsacap-rl ‡", "Quality")
        and line_of(text, "ar †", "Quality")
    )
    assert "‡: with an encoder of its own" in text


def with_quality(layout, **scores):
    for system, seed in layout.runs:
        path = layout.scores(system, seed)
        write_json(
            path,
            {
                name: {**parts, "quality": parts["quality"] | scores}
                for name, parts in read_json(path).items()
            },
        )


def test_spice_has_a_column_and_a_section(layout):
    parts = {
        "SPICE": score(0.2, [0.19, 0.22]),
        "SPICE-precision": score(0.4),
        "SPICE-color": score(0.5, n=3),
    }
    with_quality(layout, **parts)
    write_tables(layout)
    text = layout.table.read_text()
    assert line_of(text, "System", "Quality")[-1] == "SPICE"
    assert line_of(text, "dsacap", "Quality")[-1] == "20.0 ± 1.5 (sd 0.0)"
    assert line_of(text, "System", "Parts of SPICE")[2:] == ["precision", "color"]
    assert line_of(text, "dsacap", "Parts of SPICE")[2:] == ["40.0 (sd 0.0)", "50.0 (sd 0.0)"]
    assert (
        pd.read_csv(layout.table.with_suffix(".csv")).query("metric == 'SPICE-color'").n.tolist()
        == [3] * 8
    )


def test_spice_that_cannot_be_computed_is_not_a_number(layout):
    with_quality(
        layout,
        SPICE={**score(None, n=None), "reason": "SPICE: not computed.\n  fix: place the jars"},
    )
    write_tables(layout)
    text = layout.table.read_text()
    assert (
        line_of(text, "System", "Quality")[-1] == "SPICE"
        and line_of(text, "dsacap", "Quality")[-1] == "n/a"
    )
    assert (
        "SPICE: n/a. SPICE: not computed. fix: place the jars" in text
        and "## Parts of SPICE" not in text
    )
    assert "SPICE" not in set(pd.read_csv(layout.table.with_suffix(".csv")).metric)


def test_table_of_samples(layout):
    for system, seed in layout.runs:
        parts = {
            "diversity": {"AllSPICE": score(0.3)},
            "oracle": {"SPICE": score(0.25)},
            "samples": 5,
        }
        write_json(
            layout.sample_scores(system, seed), {"T=1": parts} if system == "ar" else {"K=1": parts}
        )
        write_json(
            manifest_of(layout.sample_scores(system, seed)),
            {"seconds": 2.0, "code": {"commit": "c0ffee", "dirty": False}},
        )
    write_sample_table(layout)
    text = layout.sample_table.read_text()
    assert line_of(f"## {text}", "ar", "")[1:] == ["T=1", "30.0 (sd 0.0)", "25.0 (sd 0.0)"]
    assert "scored in 12 s; commit c0ffee" in text
    assert len(pd.read_csv(layout.sample_table.with_suffix(".csv"))) == 12


def test_a_table_read_again_is_the_one_that_was_written(layout):
    written, no_spice = table._collect(layout)
    write_tables(layout)
    assert no_spice is None
    for name in ("table.csv", "table.json", "table.md"):
        read = load_table(layout.table.with_name(name))
        pd.testing.assert_frame_equal(read.numbers, written.numbers)
        assert (read.manifests, read.config) == (written.manifests, written.config)
        assert (read.signatures, read.experiment) == (written.signatures, written.experiment)


def test_each_file_of_scores_is_read_once(layout, monkeypatch):
    read = []
    monkeypatch.setattr(table, "read_json", lambda path: read.append(path) or read_json(path))
    write_tables(layout)
    scores = [path for path in read if path in {layout.scores(*run) for run in layout.runs}]
    assert sorted(scores) == sorted(layout.scores(*run) for run in layout.runs)


def test_csv_is_tidy(layout):
    write_tables(layout)
    numbers = pd.read_csv(layout.table.with_suffix(".csv"))
    assert tuple(numbers.columns) == COLUMNS
    cider = numbers[(numbers.metric == "CIDEr") & (numbers.system == "dsacap")]
    assert cider.value.tolist() == pytest.approx([100, 110]) and cider.seed.tolist() == [0, 1]
    assert cider.ci_low.tolist() == pytest.approx([90, 90]) and set(cider.unit) == {"x100"}
    assert not numbers.duplicated(["system", "decoding", "seed", "metric"]).any()
    assert numbers[numbers.metric == "latency_median_ms_batch_1"].set_index(
        "system"
    ).value.to_dict() == {
        "ar": 8,
        "dsacap": 2,
        "encoder": 1,
    }


def test_json_carries_every_manifest(layout):
    write_tables(layout)
    data = read_json(layout.table.with_suffix(".json"))
    assert {
        "data",
        "encoder",
        "features",
        "generator",
        "time",
        "score human",
        "train ar seed 0",
        "score dsacap seed 1",
    } <= set(data["manifests"])
    assert len(data["rows"]) == len(pd.read_csv(layout.table.with_suffix(".csv")))


def test_rows_that_are_not_finished_are_named(layout):
    for seed in (0, 1):
        layout.scores("dsacap", seed).unlink()
    layout.latency.unlink()
    write_tables(layout)
    text = layout.table.read_text()
    assert (
        "**Not yet run: dsacap (seed 0), dsacap (seed 1).**" in text
        and "## Latency\n\nNot measured." in text
    )
    assert line_of(text, "ar †", "Quality")[1] == "greedy" and "dsacap" not in set(
        pd.read_csv(layout.table.with_suffix(".csv")).system
    )


def test_without_a_finished_row_there_is_no_table(layout):
    for run in layout.runs:
        layout.scores(*run).unlink()
    with pytest.raises(UserError, match="no row is finished"):
        write_tables(layout)
    assert not layout.table.exists()


def test_the_plot_of_another_run_is_removed(layout):
    layout.table.with_suffix(".svg").parent.mkdir(parents=True, exist_ok=True)
    layout.table.with_suffix(".svg").write_text("<svg/>")
    layout.latency.unlink()
    write_tables(layout)
    assert not layout.table.with_suffix(".svg").exists()
