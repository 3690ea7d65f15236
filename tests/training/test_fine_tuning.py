"""An encoder that is trained with its captioner is resumed, tuned, decoded and timed with it."""

import shutil

import pytest
import torch
from accelerate import Accelerator

from dsacap.captioner.interface import Batch
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_jsonl, sha256
from dsacap.config.experiment import Config
from dsacap.data.photos import decode
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, photo_sources
from dsacap.stages.caption import caption_split
from dsacap.stages.dry_run import rehearse
from dsacap.stages.train import prepared
from dsacap.timing.photos import trained
from dsacap.training import loop
from dsacap.training.loop import Step, learning_rate
from fine_tuning import encoder_of, train, weights
from helpers import borrow, tiny_config
from rounding import assert_same_losses

RATE = 0.0005
TUNING = {
    "steps": 3,
    "batch_size": 6,
    "warmup": 1,
    "evaluations": 1,
    "validation_images": 6,
    "samples": 3,
    "rewards": {"cider": 1.0},
}


def config(work, training: dict | None = None, tuning: dict | None = None, **fine_tune) -> Config:
    """Return a configuration of four systems.

    `ar` trains its encoder and `frozen` does not; `tuned` is tuned from `ar`, and `tuned-too` from
    `frozen`, with the encoder.
    """
    plain = tiny_config(work)
    ar = plain.systems["ar"].model_dump(exclude_unset=True)
    own = {"learning_rate": RATE, **fine_tune}
    rewarded = TUNING | (tuning or {})
    systems = {
        "ar": {**ar, "training": {"fine_tune": own, **(training or {})}},
        "frozen": ar,
        "tuned": {"tuned_from": "ar", "tuning": rewarded, "decodings": ar["decodings"]},
        "tuned-too": {
            "tuned_from": "frozen",
            "tuning": {**rewarded, "fine_tune": own},
            "decodings": ar["decodings"],
        },
    }
    return tiny_config(work, systems=systems)


@pytest.fixture
def made(pixel_layout, tmp_path):
    """Return a function that makes a layout for a configuration, with the shared data."""

    def linked(**changes) -> Layout:
        return borrow(Layout(config(tmp_path, **changes)), pixel_layout)

    return linked


def step_of(layout: Layout, system: str = "ar", dropout: bool = True) -> Step:
    inputs = Inputs(layout)
    work = prepared(inputs, system, 0)
    take = Step(
        work.captioner,
        layout.config.training_of(system),
        0,
        work.examples,
        work.store,
        inputs.vocabulary,
        system,
        Accelerator(cpu=True),
        None,
    )
    work.captioner.train(dropout)
    return take


def test_the_gradient_of_the_encoder_is_right(made):
    """The loss falls along it at its rate, and it equals that of the encoder run by hand."""
    layout = made()
    take = step_of(layout, dropout=False)
    read, ours = take._read(0), dict(take.store.encoder.named_parameters())

    def loss(features: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return take.captioner.loss(Batch(read.ids, features, read.captions))["loss"]

    take._gradients(read, 0)
    gradient = {name: p.grad.clone() for name, p in ours.items() if p.grad is not None}
    length, by = torch.stack([g.square().sum() for g in gradient.values()]).sum().sqrt(), 1e-4
    with torch.no_grad():
        found = []
        for sign in (1, -2):  # first to one side, then from there to the other
            for name, g in gradient.items():
                ours[name].add_(sign * by * g / length)
            found.append(loss(take.store.features(read.rows[0], torch.device("cpu"))).item())
        for name, g in gradient.items():
            ours[name].add_(by * g / length)
    assert (found[0] - found[1]) / (2 * by) == pytest.approx(length.item(), rel=0.02)

    encoder, store = load_configured_encoder(layout).requires_grad_(True), Inputs(layout).store
    image_of = {example.image_id: example.image for example in Inputs(layout).examples("train")}
    source = photo_sources(layout, list(image_of.values()))["train"]
    photos = [encoder.preprocess(decode(source.read(image_of[i].file_name), "")) for i in read.ids]
    take.model.zero_grad()
    loss((encoder.encode(torch.stack(photos))[0] - store.mean) / store.std).backward()
    assert all((p.grad is not None) == (name in gradient) for name, p in encoder.named_parameters())
    for name, g in gradient.items():
        torch.testing.assert_close(
            encoder.get_parameter(name).grad, g, rtol=1e-2, atol=1e-3 * length.item()
        )


def test_both_learn_each_at_its_own_rate(made):
    """Adam's first step moves each weight with a gradient by the learning rate, but for decay."""
    take = step_of(made())
    before = {name: p.detach().clone() for name, p in take.model.named_parameters()}
    statistics = {name: b.clone() for name, b in take.model.named_buffers()}
    take(0)
    rate = learning_rate(0, take.settings)
    moved = {
        name: (p.detach() - before[name]).abs().max().item()
        for name, p in take.model.named_parameters()
    }
    encoder = {
        name: by
        for name, by in moved.items()
        if name.startswith("encoder.") and "attnpool" not in name
    }
    captioner = {name: by for name, by in moved.items() if name.startswith("captioner.")}
    assert max(encoder.values()) == pytest.approx(
        rate * RATE / take.settings.learning_rate, rel=0.05
    )
    assert max(captioner.values()) == pytest.approx(rate, rel=0.05)
    assert len([by for by in encoder.values() if by]) > 0.9 * len(encoder)
    # The statistics of batch norms are frozen.
    assert all(torch.equal(b, statistics[name]) for name, b in take.model.named_buffers())
    # The attention pool makes the pooled vector, which no captioner uses.
    assert not any(by for name, by in moved.items() if "attnpool" in name)


def test_without_fine_tuning_nothing_changes(made, tmp_path):
    layout = made()
    plain = Layout(tiny_config(tmp_path))
    assert layout.system("frozen", 0).name.removeprefix("frozen") == plain.system(
        "ar", 0
    ).name.removeprefix("ar")
    assert layout.system("ar", 0).name != plain.system("ar", 0).name
    train(layout, "frozen")
    assert not any(name.startswith("encoder.") for name in weights(layout, "frozen"))


@pytest.mark.parametrize("how", [{}, {"drawn": True}, {"training": {"ema": 0.9}}], ids=str)
def test_a_killed_run_resumes_to_the_same_bytes(made, monkeypatch, how):
    class Killed(BaseException):
        pass

    layout = made(**how)
    folder = layout.system("ar", 0)
    facts = train(layout)
    expected = {name: sha256(folder / name) for name in ("model.safetensors", "train.jsonl")}
    shutil.rmtree(folder)

    def schedule(at, settings):
        if at == 7:
            raise Killed
        return learning_rate(at, settings)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", schedule)
        patch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
        with pytest.raises(Killed):
            train(layout)
    assert not (folder / "model.safetensors").exists()
    resumed = train(layout)
    assert {name: sha256(folder / name) for name in expected} == expected
    assert resumed["val_CIDEr"] == facts["val_CIDEr"]
    own = sum(p.numel() for p in Inputs(layout).seen_by("ar").encoder.parameters())
    assert facts["encoder_parameters_trained"] == own > 0


def test_parts_of_a_batch_add_up(made, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    layout = made()
    train(layout)
    whole = {row["step"]: row for row in read_jsonl(layout.system("ar", 0) / "train.jsonl")}
    shutil.rmtree(layout.system("ar", 0))
    divided = made(training={"accumulate": 3})
    assert divided.system("ar", 0) == layout.system("ar", 0)
    train(divided)
    parts = {row["step"]: row for row in read_jsonl(layout.system("ar", 0) / "train.jsonl")}
    assert_same_losses(whole, parts, terms=64 * 64 * 3)  # the pixels of a photo


def test_captions_are_those_of_the_encoder_that_was_trained(made):
    """Decoding and timing use the trained encoder, as validation did."""
    # Only the encoder learns.
    layout = made(training={"learning_rate": 1e-9}, learning_rate=0.02)
    train(layout)
    inputs = Inputs(layout)
    ids = [example.image_id for example in inputs.examples("test")]
    store, before = inputs.seen_by("ar", 0), inputs.store.read(ids)
    own = store.read(ids)
    assert not own.requires_grad and (own - before).abs().mean() > 0.1
    assert all(
        torch.equal(t, encoder_of(weights(layout))[name])
        for name, t in store.encoder.state_dict().items()
    )

    caption_split(layout, "ar", 0)
    captions = read_json(layout.captions("ar", 0))["greedy"]
    captioner, greedy = inputs.captioner("ar", 0), inputs.decodings("ar")["greedy"]
    expected = captioner.caption(Batch(tuple(ids), own), 1, 0, greedy)
    decoded = [inputs.vocabulary.decode(samples[0]) for samples in expected]
    assert [samples[0] for samples in captions.values()] == decoded

    subject = trained(layout.config, "ar")
    torch.testing.assert_close(subject.batch(len(ids)).features, own, rtol=0, atol=1e-4)
    pixels = subject.photos.pixels(len(ids))
    torch.testing.assert_close(subject.photos.encoded(*pixels).features, own, rtol=0, atol=1e-4)


def test_tuning_keeps_the_encoder_that_was_trained_or_trains_one(made):
    layout = made(drawn=True)
    train(layout)
    facts = train(layout, "tuned")
    before, after = weights(layout), weights(layout, "tuned")
    assert all(
        torch.equal(t, encoder_of(before)[name]) for name, t in encoder_of(after).items()
    ) and encoder_of(after)
    assert any(not torch.equal(t, before[name]) for name, t in after.items())
    assert "encoder_parameters_trained" not in facts
    # The views of its base do not matter.
    assert prepared(Inputs(layout), "tuned", 0).store.views == 1

    train(layout, "frozen")
    assert train(layout, "tuned-too")["encoder_parameters_trained"] > 0
    configured = load_configured_encoder(layout).state_dict()
    assert any(
        not torch.equal(t, configured[name])
        for name, t in encoder_of(weights(layout, "tuned-too")).items()
    )
    caption_split(layout, "tuned-too", 0)


def test_kl_and_a_moving_encoder_exclude_each_other(tmp_path):
    with pytest.raises(
        UserError, match=r"kl measures the distance from the system.*leave one of them out"
    ):
        config(tmp_path, tuning={"kl": 0.1})


def test_a_rehearsal_counts_the_encoder(made):
    layout = made()
    report = rehearse(layout, "ar", 0)
    inputs = Inputs(layout)
    encoder = sum(p.numel() for p in inputs.seen_by("ar").encoder.parameters())
    captioner = sum(p.numel() for p in inputs.captioner("ar").parameters())
    assert (
        f"parameters  {encoder + captioner:,}, {encoder:,} of them"
        " of the encoder, which is trained from pixels\n" in report
    )
