import json
from pathlib import Path

import pytest

from dsacap.audit.chain import chain
from dsacap.audit.explain import explain, render
from dsacap.cli.main import main
from dsacap.reporting.table_file import load_table

RESULTS = Path(__file__).resolve().parents[2] / "results"


def asked(table, *arguments) -> int:
    return main(["explain", str(table), *arguments])


def test_the_chain_of_a_published_cell(capsys, monkeypatch, tmp_path):
    """System, decoding and metric are found in any case, in a folder without the files of a run."""
    monkeypatch.chdir(tmp_path)
    table = load_table(RESULTS / "scenes")
    decoding = list(table.config["systems"]["dsacap-rl"]["decodings"])[-1]
    assert (
        asked(
            RESULTS / "scenes/table.csv",
            "--system",
            "dsacap + RL",
            "--decoding",
            decoding.lower().replace(" ", ""),
            "--metric",
            "cider",
        )
        == 0
    )
    printed = capsys.readouterr().out
    value = table.rows("dsacap-rl", decoding, "CIDEr").value.item()
    head = f"DSACap + RL (dsacap-rl), {decoding}, CIDEr\n= {value:.6g} (x100, 500 images)"
    assert head in printed
    stages = [line.split(":")[0] for line in printed.splitlines() if line[:1].isdigit()]
    assert stages == [
        "1. data",
        "2. encoder",
        "3. features",
        "4. train dsacap seed 0",
        "5. generator",
        "6. train dsacap-rl seed 0 (stage tune)",
        "7. caption dsacap-rl seed 0",
        "8. score dsacap-rl seed 0",
    ]
    manifest = table.manifests["train dsacap-rl seed 0"]
    text = " ".join(printed.split())  # where lines break depends on the folder's name
    for part in (
        " ".join(manifest["command"]),
        manifest["code"]["commit"][:12],
        manifest["code"]["lock"][:12],
        manifest["host"]["cpu"],
    ):
        assert part in text
    assert (
        "captions.jsonl fd541ab6d95c" in text
        and "CIDEr-D|df:test-refs" in text
        and "tuning.rewards.reconstruction 5.0" in text
    )
    assert (
        "dataset 0, encoder.train 0, generator.train 0, decoding 0,"
        " training (weights, order of images) 0" in text
    )
    assert "unchecked files: not on this machine: work/scenes/" in text
    assert "not recorded" not in text
    assert (
        asked(
            RESULTS / "flickr8k",
            "--system",
            "dsacap",
            "--decoding",
            "K=1, t_s=0",
            "--metric",
            "CIDEr",
        )
        == 0
    )
    assert "not recorded" in capsys.readouterr().out  # it is older than the hashes of files


def test_json_has_the_whole_manifests(capsys):
    assert (
        asked(
            RESULTS / "flickr8k",
            "--system",
            "dsacap",
            "--decoding",
            "K=1, t_s=0",
            "--metric",
            "CIDEr",
            "--json",
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (
        found["cell"]["seeds"] == [0, 1]
        and len(found["cell"]["intervals"]) == 2
        and found["fresh"]["verdict"] in ("stale", "unchecked")
    )
    names = [stage["name"] for stage in found["stages"]]
    assert names[-3:] == ["train dsacap seed 1", "caption dsacap seed 1", "score dsacap seed 1"]
    assert all(
        len(stage["config_sha256"]) == 64 and stage["code"]["commit"] for stage in found["stages"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--system", "DSACapp", "--metric", "CIDEr"),
            "no system 'DSACapp'; did you mean DSACap (dsacap)",
        ),
        (
            ("--system", "nothing like it", "--metric", "CIDEr"),
            "known: Human (human), Autoregressive (ar)",
        ),
        (
            ("--system", "ar", "--metric", "cidr"),
            "Autoregressive has no metric 'cidr'; did you mean CIDEr or val_CIDEr or Self-CIDEr?",
        ),
        (
            ("--system", "human", "--metric", "CIDEr"),
            "Human has no metric 'CIDEr'; did you mean Self-CIDEr or held_out_CIDEr?",
        ),
        (
            ("--system", "ar", "--metric", "CIDEr"),
            "has CIDEr for 3 decodings; choose one:"
            ' --decoding "greedy"; --decoding "beam=3"; --decoding "T=0.5"',
        ),
        (
            ("--system", "ar", "--metric", "CIDEr", "--decoding", "beam"),
            "has no CIDEr for the decoding 'beam'; choose one:",
        ),
        (
            ("--system", "ar", "--metric", "Div-1", "--decoding", "greedy"),
            'choose one: --decoding "T=0.5"',
        ),
    ],
)
def test_an_error_suggests_the_most_similar_names(capsys, arguments, message):
    assert asked(RESULTS / "scenes", *arguments) == 1
    assert message in capsys.readouterr().err


def test_two_systems_of_one_label_are_told_apart_by_their_keys(made, tmp_path, capsys):
    both = made().set_config(
        lambda c: [c["systems"][name].update(label="Twin") for name in ("ar", "dsacap")]
    )
    assert asked(both.write(tmp_path), "--system", "twin", "--metric", "CIDEr") == 1
    error = "'twin' is the label of several systems; give one of their keys: ar, dsacap"
    assert error in capsys.readouterr().err


def chain_of(table, *cell) -> list[str]:
    return chain(load_table(table), *cell)


def test_rows_without_training_have_shorter_chains(made, tmp_path):
    of_row = {"label": "Theirs", "citation": "Somebody 2025", "trained_on": "COCO"}
    predictions = {
        "theirs": {**of_row, "file": "theirs.json"},
        "blip": {**of_row, "checkpoint": {"name": "x", "revision": "1"}},
    }
    table = made().set_config(lambda c: c["predictions"].update(predictions))
    table.rows += [
        {**table.rows[1], "system": name, "decoding": "predictions", "seed": None}
        for name in predictions
    ]
    table.write(tmp_path)
    assert chain_of(tmp_path, "human", "references", "held_out_CIDEr") == ["data", "score human"]
    assert chain_of(tmp_path, "theirs", "predictions", "CIDEr") == ["data", "score theirs"]
    assert chain_of(tmp_path, "blip", "predictions", "CIDEr") == [
        "data",
        "checkpoint blip",
        "score blip",
    ]
    assert chain_of(tmp_path, "ar", "", "parameters") == [
        "data",
        "encoder",
        "features",
        "train ar seed 0",
    ]
    assert chain_of(tmp_path, "ar", "greedy", "latency_median_ms_batch_1")[-2:] == [
        "train ar seed 0",
        "time",
    ]


def test_a_distilled_row_depends_on_its_teacher(made, tmp_path):
    taught = {"system": "ar", "decoding": "greedy"}
    table = (
        made()
        .set_config(lambda c: c["systems"]["dsacap"].update(distilled_from=taught))
        .write(tmp_path)
    )
    stages = chain_of(table, "dsacap", "K=1", "CIDEr")
    assert stages[3:6] == ["train ar seed 0", "teach dsacap seed 0", "train dsacap seed 0"]
    found = explain(load_table(table), "dsacap", None, "CIDEr", None)
    assert {stage["name"]: stage["recorded"] for stage in found["stages"]}[
        "teach dsacap seed 0"
    ] is False
    assert "5. teach dsacap seed 0\n   manifest  not in this table" in render(found)


def test_a_row_that_trains_the_encoder_depends_on_the_pixels(made, tmp_path):
    training = {"fine_tune": {"learning_rate": 0.001}}
    table = (
        made()
        .set_config(lambda c: c["systems"]["dsacap"].update(training=training))
        .write(tmp_path)
    )
    assert chain_of(table, "dsacap", "", "parameters") == [
        "data",
        "encoder",
        "features",
        "pixels",
        "train dsacap seed 0",
    ]
    assert "pixels" not in chain_of(table, "ar", "", "parameters")


def test_figures_that_others_report_have_a_source(made, tmp_path, capsys):
    header = (
        "dataset,group,model,encoder,passes,rl,"
        "BLEU-4,METEOR,ROUGE-L,CIDEr,SPICE,verified,source,note\n"
    )
    published = tmp_path / "published.csv"
    published.write_text(
        header + "tiny,diffusion,Paper Captioner,CLIP,10,no,20,,,99.5,,A,arXiv 1234.5678,\n"
    )
    table = made().set_config(lambda c: c.update(published=str(published))).write(tmp_path)
    assert asked(table, "--system", "paper captioner", "--metric", "CIDEr") == 0
    text = capsys.readouterr().out
    assert "Reported by others, not measured here: Paper Captioner, BLEU-4 20, CIDEr 99.5" in text
    assert "arXiv 1234.5678" in text and "in the abstract alone" in text
    assert asked(table, "--system", "paper caption", "--metric", "CIDEr") == 1
    assert "did you mean Paper Captioner (reported)?" in capsys.readouterr().err


def test_numbers_without_manifests_are_not_called_fresh(made, tmp_path, capsys):
    made().write(tmp_path)
    (tmp_path / "table.json").unlink()
    assert asked(tmp_path, "--system", "dsacap", "--metric", "CIDEr") == 0
    text = capsys.readouterr().out
    assert (
        "= 90 (x100, 6 images)" in text
        and "not everything can be checked here" in text
        and "the table has no manifests" in text
    )
