import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_jsonl, read_tensors, sha256, write_json
from dsacap.config.sections import Row
from dsacap.config.training import Training
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.features import make_features
from dsacap.stages.teach import teach
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system
from dsacap.training import batches, loop
from dsacap.training.batches import batch_indices
from dsacap.training.checkpoint import Progress, restore, save
from dsacap.training.loop import is_still_rising, learning_rate
from dsacap.training.moving_average import MovingAverage
from dsacap.vision.encoders.clip_encoder import local_name
from helpers import borrow, save_vit, tiny_config
from rounding import assert_same_losses


class Killed(BaseException):
    """Ends a run as abruptly as a signal does: nothing in the loop catches it."""


@pytest.fixture
def layout(tiny_layout, tmp_path) -> Layout:
    """A work folder of its own, with the shared data, encoder and features linked in."""
    return borrow(Layout(tiny_config(tmp_path)), tiny_layout)


def kill_at(monkeypatch, system: str, layout: Layout, step: int) -> None:
    """Train, saving at every step, until `step` begins."""

    def schedule(at, settings):
        if at == step:
            raise Killed
        return learning_rate(at, settings)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", schedule)
        patch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
        with pytest.raises(Killed):
            run_system(layout, system)


def run_system(layout: Layout, system: str) -> dict:
    return (tune_system if layout.config.systems[system].tuned_from else train_system)(
        layout, system, 0
    )


@pytest.mark.parametrize("system", ["ar", "dsacap", "dsacap-rl", "averaged"])
def test_a_killed_training_resumes_to_the_same_bytes(layout, monkeypatch, system):
    if system == "averaged":
        averaged = layout.config.systems["dsacap"].model_copy(update={"training": {"ema": 0.9}})
        layout = Layout(layout.config.model_copy(update={"systems": {"averaged": averaged}}))
    folder = layout.system(system, 0)
    if base := layout.config.systems[system].tuned_from:
        write_json(manifest_of(layout.system(base, 0)), {"facts": train_system(layout, base, 0)})
    facts = run_system(layout, system)
    expected = {name: sha256(folder / name) for name in ("model.safetensors", "train.jsonl")}
    shutil.rmtree(folder)

    half = layout.config.training_of(system).steps // 2
    # Before the first evaluation, once more right after that, and after the evaluation.
    for step in (half - 2, half - 1, half + 1):
        kill_at(monkeypatch, system, layout, step)
        assert not (folder / "model.safetensors").exists()
    resumed = run_system(layout, system)
    assert {name: sha256(folder / name) for name in expected} == expected
    assert {k: v for k, v in resumed.items() if "cpu" not in k} == {
        k: v for k, v in facts.items() if "cpu" not in k
    }


def test_a_torn_checkpoint_is_replaced_by_the_one_before(layout, monkeypatch, capsys):
    folder = layout.system("ar", 0)
    train_system(layout, "ar", 0)
    expected = sha256(folder / "model.safetensors")
    shutil.rmtree(folder)

    kill_at(monkeypatch, "ar", layout, 9)
    _, newest = sorted((folder / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    train_system(layout, "ar", 0)
    assert f"{newest.name}: truncated" in capsys.readouterr().err
    assert sha256(folder / "model.safetensors") == expected


# The losses of the first 50 steps. If they change, every result does: raise VERSIONS["train"].
LOSSES = json.loads(Path(__file__).with_name("losses.json").read_text())
SMALL = {"width": 16, "heads": 2}
SYSTEMS = {
    "ar": ("autoregressive", {**SMALL, "encoder_layers": 1, "decoder_layers": 1}),
    "prefix-lm": ("prefix-lm", {**SMALL, "layers": 1, "prefix": 2}),
    "masked-diffusion": ("masked-diffusion", {**SMALL, "concentrated": True, "image_free": 0.1}),
    "bit-diffusion": ("bit-diffusion", SMALL),
    "scd-net": ("scd-net", {**SMALL, "encoder_layers": 1, "decoder_layers": 1}),
    "ladic": (
        "ladic",
        {
            **SMALL,
            "latent": 8,
            "encoder_layers": 1,
            "text_layers": 1,
            "decoder_layers": 1,
            "text_steps": 20,
        },
    ),
    "parallel": ("parallel", SMALL),
    "dsacap": ("dsacap", {**SMALL, "denoiser_layers": 1, "readout_layers": 1}),
}


@pytest.fixture(scope="module")
def steady_layout(tiny_layout, tmp_path_factory) -> Layout:
    """A layout with features of a random encoder. A trained one differs between processors."""
    folder = tmp_path_factory.mktemp("steady")
    save_vit(folder / "vit")
    layout = Layout(tiny_config(folder, encoder={"name": local_name(folder / "vit"), "grid": 2}))
    layout.root.mkdir(parents=True)
    layout.data.symlink_to(tiny_layout.data)
    make_features(layout)
    return layout


@pytest.mark.parametrize("system", SYSTEMS)
def test_losses_are_what_they_were(steady_layout, tmp_path, monkeypatch, system):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    captioner, model = SYSTEMS[system]
    settings = {
        "captioner": captioner,
        "model": model,
        "training": {"steps": 50, "evaluations": 1},
        "decodings": {"only": {}},
    }
    encoder = steady_layout.config.encoder.model_dump(exclude_unset=True)
    layout = borrow(
        Layout(tiny_config(tmp_path, encoder=encoder, systems={system: settings})), steady_layout
    )
    train_system(layout, system, 0)
    found = [row["loss"] for row in read_jsonl(layout.system(system, 0) / "train.jsonl")]
    committed, logged = (
        {step: {"loss": loss} for step, loss in enumerate(losses, 1)}
        for losses in (LOSSES[system], found)
    )
    # The terms are the features and words of a batch.
    assert_same_losses(committed, logged, terms=6 * 4 * 32 + 6 * 5 * 33)


def test_weights_are_those_of_the_best_validation(layout):
    facts = train_system(layout, "ar", 0)
    log = read_jsonl(layout.system("ar", 0) / "train.jsonl")
    curve = {row["step"]: row["val_CIDEr"] for row in log if "val_CIDEr" in row}
    assert list(curve) == [6, 12]
    assert facts["val_CIDEr"] == max(curve.values()) == curve[facts["best_step"]]
    weights, _ = read_tensors(layout.system("ar", 0) / "model.safetensors")
    best, _ = read_tensors(layout.system("ar", 0) / "best.safetensors")
    assert all(torch.equal(weights[name], best[name]) for name in weights)


def test_averaged_weights_are_used_for_decoding_and_trained_ones_for_training():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    average, by_hand = MovingAverage(model, 0.5), [p.detach().clone() for p in model.parameters()]
    for step in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        by_hand = [
            decay * old + (1 - decay) * new.detach()
            for old, new in zip(by_hand, model.parameters(), strict=True)
        ]
    trained = [p.detach().clone() for p in model.parameters()]
    with average.in_place():
        torch.testing.assert_close(list(model.parameters()), by_hand)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), trained, strict=True))


def test_seeds_differ(layout):
    train_system(layout, "ar", 0)
    other = Layout(tiny_config(layout.config.work, seeds=[1]))
    train_system(other, "ar", 1)
    assert sha256(layout.system("ar", 0) / "model.safetensors") != sha256(
        other.system("ar", 1) / "model.safetensors"
    )


def test_a_diverged_loss_stops_the_run(layout):
    hot = Layout(
        tiny_config(
            layout.config.work,
            training={"steps": 12, "batch_size": 6, "warmup": 0, "learning_rate": 1e30},
        )
    )
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf) at step \d+; lower training.learning_rate"
    ):
        train_system(hot, "ar", 0)


def test_every_epoch_sees_every_image_once():
    epoch = np.concatenate([batch_indices(step, 0, 20, 5) for step in range(4)])
    assert sorted(epoch) == list(range(20))
    following = np.concatenate([batch_indices(step, 0, 20, 5) for step in range(4, 8)])
    assert sorted(following) == list(range(20)) and list(following) != list(epoch)
    assert len(batch_indices(0, 0, 3, 5)) == 3  # fewer images than a batch


def test_learning_rate_warms_up_and_falls_to_zero():
    settings = Training(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert (
        rates[0] == pytest.approx(0.1)
        and rates[10] == pytest.approx(1.0)
        and rates[100] == pytest.approx(0, abs=1e-9)
    )
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("before", "gain", "spread", "rising"),
    [
        ([], 0.02, 0.1, True),  # 4.5 standard errors
        ([], 0.02, 0.4, False),  # 1.1
        ([], 0.005, 0.01, True),  # less than 1 %, and beyond chance
        ([], -0.02, 0.1, False),
        ([1.1], 0.02, 0.1, False),  # an earlier evaluation was better
    ],
)
def test_still_rising_is_a_gain_beyond_the_noise_of_the_images(before, gain, spread, rising):
    rng = np.random.default_rng(0)
    older = rng.normal(1, 0.5, size=500)
    gains = rng.normal(size=500)
    newer = older + gain + spread * (gains - gains.mean())
    curve = [*before, float(older.mean()), float(newer.mean())]
    assert is_still_rising(curve, [older.tolist(), newer.tolist()]) is rising


def test_one_evaluation_does_not_show_that_a_run_is_done():
    assert is_still_rising([1.0], [[1.0, 1.0]])


def test_the_last_two_evaluations_of_each_image_survive_a_restart(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    save(checkpoint, model, optimizer, Progress(step=5, validated=[[0.5, 1.0], [0.25, 2.0]]))
    assert restore(checkpoint, model, optimizer).validated == [[0.5, 1.0], [0.25, 2.0]]


@pytest.mark.parametrize(
    ("verb", "system", "message"),
    [
        ("train", "dsacap-rl", "dsacap-rl is tuned from dsacap, not trained; use the verb tune"),
        ("tune", "ar", "ar is trained, not tuned; use the verb train"),
        ("teach", "ar", "ar has no teacher: set distilled_from"),
    ],
)
def test_a_verb_for_another_kind_of_system_is_refused(tmp_path, capsys, verb, system, message):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)))
    assert main([verb, "--config", str(config), "--system", system]) == 1
    assert message in capsys.readouterr().err


def test_a_distilled_system_learns_from_its_teacher_alone(layout, monkeypatch):
    """It trains on the teacher's captions, and its folder depends on the teacher's."""
    plain = layout.config.systems
    student = plain["dsacap"].model_copy(
        update={"distilled_from": Row(system="ar", decoding="T=1")}
    )
    layout = Layout(layout.config.model_copy(update={"systems": {**plain, "student": student}}))
    assert (
        layout.system("student", 0).name.split("-")[-1]
        != layout.system("dsacap", 0).name.split("-")[-1]
    )
    write_json(manifest_of(layout.system("ar", 0)), {"facts": train_system(layout, "ar", 0)})
    facts = teach(layout, "student", 0)
    write_json(manifest_of(layout.lessons("student", 0)), {"facts": facts, "cpu_seconds": 1000})
    lessons = read_json(layout.lessons("student", 0))
    train = load_examples(layout.data, "train")
    assert set(map(int, lessons)) == {e.image_id for e in train} and all(
        len(captions) == 5 for captions in lessons.values()
    )
    used, references = [], batches._references
    monkeypatch.setattr(
        batches,
        "_references",
        lambda example, *how: used.append(example) or references(example, *how),
    )
    facts = train_system(layout, "student", 0)
    assert facts["train_cpu_seconds"] > 1000  # the teacher's work is counted
    assert all(list(example.tokens) == lessons[str(example.image_id)] for example in used)
