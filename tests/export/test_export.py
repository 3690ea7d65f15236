"""An exported system gives a photo the caption that the run gave it, wherever the folder is."""

import re
import shutil
import subprocess
import sys

import pytest
import torch

import dsacap
from dsacap.captioner.registry import CAPTIONERS
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors
from dsacap.config.sections import System
from dsacap.export.writing import export_system, from_run
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.manifest import run_stage
from dsacap.stages.caption import caption_split
from dsacap.stages.score import score_system
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system
from exports import DSACAP, SMALL, trained

LAYERS = {"encoder_layers": 1, "decoder_layers": 1}
SYSTEMS = {
    "dsacap slots": {
        "captioner": "dsacap",
        "model": {**DSACAP["model"], "readout": "slots"},
        "decodings": {"a": {}},
    },
    "dsacap cmlm": {
        "captioner": "dsacap",
        "model": {**DSACAP["model"], "readout": "cmlm"},
        "decodings": {"a": {"passes": 2}},
    },
    "autoregressive": {
        "model": {**SMALL, **LAYERS},
        "decodings": {"a": {}, "b": {"beam": 3}, "c": {"temperature": 1.0}},
    },
    "masked-diffusion": {
        "model": {**SMALL, **LAYERS},
        "decodings": {"a": {"steps": 4}, "b": {"steps": 4, "temperature": 0.5}},
    },
    "bit-diffusion": {"model": SMALL, "decodings": {"a": {"steps": 3}}},
    "ladic": {
        "model": {**SMALL, **LAYERS, "latent": 8, "text_layers": 1},
        "decodings": {"a": {"stride": 300}},
    },
    "parallel": {"model": SMALL, "decodings": {"a": {}}},
    "prefix-lm": {
        "model": {**SMALL, "layers": 1, "prefix": 2},
        "decodings": {"a": {}, "b": {"temperature": 1.0}},
    },
    "scd-net": {"model": {**SMALL, **LAYERS}, "decodings": {"a": {"steps": 3}}},
}


def captions_equal_the_stages(layout, model, photos) -> bool:
    """Whether the model gives photos the captions that the stage gave them.

    Only photos whose features equal the stage's to the last bit are compared. The stage encoded
    them in batches with other photos, which can change the rounding of a convolution, and so a word
    that is drawn, or almost a tie.
    """
    captions, store = read_json(layout.captions("ours", 0)), Inputs(layout).store
    assert list(model.decodings) == list(captions) and model.default_decoding == next(
        iter(captions)
    )
    features = model.features([model.prepare(path.read_bytes(), str(path)) for path in photos])
    expected = store.read(list(photos.values()))
    # The tolerance is of half precision, in units of standard deviations.
    torch.testing.assert_close(features, expected, rtol=0, atol=0.02)
    equal = {
        path: i
        for (path, i), ours, theirs in zip(photos.items(), features, expected, strict=True)
        if torch.equal(ours, theirs)
    }
    assert equal
    samples = {name: len(next(iter(by_image.values()))) for name, by_image in captions.items()}
    found = {
        name: model.caption(
            list(equal), name, samples=samples[name], image_ids=list(equal.values())
        )
        for name in captions
    }
    return found == {
        name: [by_image[str(image_id)] for image_id in equal.values()]
        for name, by_image in captions.items()
    }


def test_dsacap_gives_the_captions_of_the_stage(layout, exported, photos):
    model = dsacap.load(exported)
    assert captions_equal_the_stages(layout, model, photos) and captions_equal_the_stages(
        layout, from_run(layout, "ours", 0), photos
    )
    assert len(next(iter(read_json(layout.captions("ours", 0))["drawn"].values()))) == 5
    memory = read_tensors(exported / "memory.safetensors")[0]
    # Only the captions in which bigrams are counted.
    shapes = {name: tuple(tensor.shape) for name, tensor in memory.items()}
    assert shapes == {"captions": (24 * 5, 33)}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_captioner_gives_the_captions_of_the_stage(tiny_layout, photos, tmp_path, name):
    layout = trained(tiny_layout, **{"captioner": name} | SYSTEMS[name])
    export_system(layout, "ours", 0, tmp_path / "out")
    assert captions_equal_the_stages(layout, dsacap.load(tmp_path / "out"), photos)
    assert (tmp_path / "out" / "memory.safetensors").exists() == (name == "scd-net")


def test_every_captioner_is_tested():
    assert {DSACAP["captioner"], *(name.split()[0] for name in SYSTEMS)} == set(CAPTIONERS)


def test_a_tuned_system(tiny_layout, photos, tmp_path):
    systems = tiny_layout.config.systems
    renamed = {
        "base": systems["dsacap"],
        "ours": systems["dsacap-rl"].model_copy(update={"tuned_from": "base"}),
    }
    layout = Layout(tiny_layout.config.model_copy(update={"systems": renamed}))
    for verb, system, stage in (("train", "base", train_system), ("tune", "ours", tune_system)):
        run_stage(
            verb,
            layout.config,
            lambda stage=stage, system=system: stage(layout, system, 0),
            manifest_of(layout.system(system, 0)),
        )
    caption_split(layout, "ours", 0)
    export_system(layout, "ours", 0, tmp_path / "out")
    assert captions_equal_the_stages(layout, dsacap.load(tmp_path / "out"), photos)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- train: 12 steps, 72 images seen" in card and "- tune: 6 steps" in card
    assert {"train", "tune", "export"} <= set(read_json(tmp_path / "out" / "manifest.json"))


def test_a_system_with_an_encoder_of_its_own(pixel_layout, photos, tmp_path):
    """Its features are those that the stage decoded, up to rounding, exported or from the run."""
    fine_tune = {"steps": 4, "evaluations": 1, "fine_tune": {"learning_rate": 0.01}}
    systems = {"ours": System(**DSACAP, training=fine_tune, decodings={"a": {"noise_level": 0}})}
    layout = Layout(pixel_layout.config.model_copy(update={"systems": systems}))
    train_system(layout, "ours", 0)
    caption_split(layout, "ours", 0)
    export_system(layout, "ours", 0, tmp_path / "out")
    inputs, captions = Inputs(layout), read_json(layout.captions("ours", 0))["a"]
    expected, before = (
        store.read(list(photos.values())) for store in (inputs.seen_by("ours", 0), inputs.store)
    )
    for model in (dsacap.load(tmp_path / "out"), from_run(layout, "ours", 0)):
        features = model.features([model.prepare(path.read_bytes(), str(path)) for path in photos])
        assert (features - expected).abs().mean() < 0.01 < 0.1 < (features - before).abs().mean()
        found = model.caption(list(photos), image_ids=list(photos.values()))
        assert found == [captions[str(image_id)] for image_id in photos.values()]


def test_random_captions_depend_on_seed_and_photo_alone(exported, photos):
    model, paths = dsacap.load(exported), list(photos)
    both = model.caption(paths, "drawn", samples=3)
    assert model.caption(paths[:1], "drawn", samples=2) == [both[0][:2]]
    assert model.caption([paths[1].read_bytes()], "drawn", samples=3) == [both[1]]
    assert model.caption(paths, "drawn", samples=3, seed=1) != both
    assert model.caption([], "drawn") == []


def test_the_model_cards_commands_work_where_the_folder_is_copied(exported, photos, tmp_path):
    """Its shell command and its three lines of Python work in another folder as they are.

    The Python lines import none of the libraries that take seconds.
    """
    shutil.copytree(exported, tmp_path / "FOLDER")
    shutil.copy(next(iter(photos)), tmp_path / "photo.jpg")  # a PNG, despite its name
    card = (tmp_path / "FOLDER" / "README.md").read_text()
    lines = [line.strip() for line in card.splitlines() if line.startswith("    ")]
    shell, python = lines[0], lines[1:]
    assert len(python) == 3
    slow = ("open_clip", "torchvision", "timm", "transformers", "pandas", "scipy")
    heavy = f"import sys; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*python, heavy])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = dsacap.load(exported).caption([tmp_path / "photo.jpg"])
    assert done.stdout == f"{found}\n[]\n", done.stderr
    command = [sys.executable, "-m", "dsacap.cli", *shell.split()[1:]]
    assert (
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
        == f"{found[0][0]}\n"
    )
    assert {path.stat().st_mode for path in exported.iterdir()} == {
        (exported / "README.md").stat().st_mode
    }
    for file in ("README.md", "model.json", "index.json"):
        # No path of this machine.
        assert str(exported.parents[1]) not in (exported / file).read_text()


def test_the_card_has_scores_only_if_the_system_is_scored(layout, exported, tmp_path):
    assert (
        "Not scored" in (exported / "README.md").read_text()
        and not layout.scores("ours", 0).exists()
    )
    score_system(layout, "ours", 0)
    try:
        export_system(layout, "ours", 0, tmp_path / "scored")
        scores = read_json(layout.scores("ours", 0))
    finally:
        layout.scores("ours", 0).unlink()
    card = (tmp_path / "scored" / "README.md").read_text().split("## Scores")[1]
    row = next(line for line in card.splitlines() if line.startswith("| `bigrams`"))
    expected = 100 * scores["bigrams"]["quality"]["METEOR"]["value"]
    header = next(line for line in card.splitlines() if "METEOR" in line and line.startswith("|"))
    at = [cell.strip() for cell in header.split("|")].index("METEOR")
    assert re.match(rf"{expected:.1f} \[", row.split("|")[at].strip())
    assert scores["bigrams"]["quality"]["CIDEr"]["signature"] in card


def test_an_export_that_is_refused_leaves_nothing(layout, exported, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        export_system(layout, "ours", 0, exported)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="exists already"):
        export_system(layout, "ours", 0, tmp_path / "file")
    with pytest.raises(
        UserError, match=r"ours with seed 7 is not trained.*dsacap train --system ours"
    ):
        export_system(layout, "ours", 7, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    export_system(layout, "ours", 0, tmp_path / "empty")
    assert (tmp_path / "empty" / "index.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_failed_export_leaves_nothing(layout, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("dsacap.export.writing.model_card", full_disk)
    with pytest.raises(OSError, match="No space"):
        export_system(layout, "ours", 0, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_language_model_in_a_folder_of_this_machine_is_refused(tiny_layout, tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    GPT2LMHeadModel(
        GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=1, n_positions=128)
    ).save_pretrained(tmp_path / "lm")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1, "<end>": 2}, unk_token="a")),
        eos_token="<end>",
    )
    tokenizer.save_pretrained(tmp_path / "lm")
    layout = trained(
        tiny_layout,
        captioner="prefix-lm",
        model={"language_model": str(tmp_path / "lm"), "prefix": 2},
        decodings={"a": {}},
    )
    with pytest.raises(
        UserError, match=r"systems.ours.model.language_model: .* is a folder of this machine"
    ):
        export_system(layout, "ours", 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()
