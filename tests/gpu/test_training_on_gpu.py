"""The training loop and every tuning on a pretended GPU: the CPU's losses, without waiting."""

from types import SimpleNamespace

import pytest
import torch
from gpu_training import on_gpu
from pretended import GPU, pretended_gpu

from dsacap.captioner.registry import load_captioner
from dsacap.common.errors import UserError
from dsacap.common.files import read_jsonl, write_json
from dsacap.config.training import Training
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system
from dsacap.training import loop
from dsacap.training.gradients import Gradients
from helpers import SPEC, borrow, tiny_config

REWARDS = {"cider": 1.0, "reconstruction": 2.0, "clipscore": 1.0, "repeats": 0.5, "excess": 0.1}
FEW = {"steps": 5, "batch_size": 6, "warmup": 1, "evaluations": 1, "validation_images": 2}
# name: (tuning, waits of a step: the captions drawn, the cosines of both judges, whether guided)
TUNINGS = {
    "rewards": ({"rewards": REWARDS, "samples": 3, "kl": 0.1}, 3),
    "guided": ({"rewards": REWARDS, "samples": 3, "guided": True, "supervised": 0.2}, 4),
    "spread": ({"rewards": {"cider": 1.0, "coverage": 1.0}, "samples": 3, "spread": "image"}, 1),
    "ngrams": ({"ngrams": {"orders": 3, "temperature": 0.5}, "supervised": 0.2}, 0),
}


def layout_of(shared: Layout, folder, device: str, **changes) -> Layout:
    return borrow(Layout(tiny_config(folder / device, device=device, **changes)), shared)


def curve(layout: Layout, system: str) -> list[dict]:
    return read_jsonl(layout.system(system, 0) / "train.jsonl")


def assert_same_curves(one: Layout, other: Layout, system: str) -> None:
    for here, there in zip(curve(one, system), curve(other, system), strict=True):
        assert there == pytest.approx(here, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(("system", "how"), [("ar", {}), ("dsacap", {"ema": 0.9, "accumulate": 2})])
def test_training(tiny_layout, tmp_path, monkeypatch, system, how):
    here, there = (
        layout_of(tiny_layout, tmp_path, device, training=FEW | how) for device in ("cpu", "cuda")
    )
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_LOG_EVERY", 4)
        train_system(here, system, 0)
    with on_gpu(monkeypatch) as of_steps:
        facts = train_system(there, system, 0)
    assert facts["device"] == "cuda:0" and len(of_steps) == 5
    assert not any(of_steps), of_steps
    assert_same_curves(here, there, system)


def test_a_wait_of_the_loop_around_a_step_is_found(tiny_layout, tmp_path, monkeypatch):
    there, look = layout_of(tiny_layout, tmp_path, "cuda", training=FEW), loop.Watch.look

    def careful(watch):
        assert torch.ones(1, device="cuda").item() == 1
        return look(watch)

    with on_gpu(monkeypatch) as of_steps, monkeypatch.context() as patch:
        patch.setattr(loop.Watch, "look", careful)
        train_system(there, "ar", 0)
    assert [sum(waits.values()) for waits in of_steps] == [1] * 5


def test_a_killed_training_resumes(tiny_layout, tmp_path, monkeypatch):
    there = layout_of(tiny_layout, tmp_path, "cuda", training=FEW)
    learning_rate = loop.learning_rate

    class Killed(BaseException):
        pass

    def schedule(at, settings):
        if at == 3:
            raise Killed
        return learning_rate(at, settings)

    with on_gpu(monkeypatch) as of_steps:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "learning_rate", schedule)
            patch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
            with pytest.raises(Killed):
                train_system(there, "dsacap", 0)
        assert train_system(there, "dsacap", 0)["steps"] == 5
    assert len(of_steps) == 5 and not any(of_steps)


@pytest.mark.parametrize("name", TUNINGS)
def test_tuning(tiny_layout, tmp_path, monkeypatch, name):
    tuning, most = TUNINGS[name]
    layouts = []
    for device in ("cpu", "cuda"):
        systems = tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)["systems"]
        systems["dsacap-rl"]["tuning"] = FEW | tuning
        layouts.append(layout_of(tiny_layout, tmp_path, device, systems=systems))
    here, there = layouts
    write_json(manifest_of(here.system("dsacap", 0)), {"facts": train_system(here, "dsacap", 0)})
    there.system("dsacap", 0).symlink_to(here.system("dsacap", 0))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_LOG_EVERY", 4)
        tune_system(here, "dsacap-rl", 0)
    with on_gpu(monkeypatch) as of_steps:
        tune_system(there, "dsacap-rl", 0)
    assert len(of_steps) == 5
    assert max(sum(waits.values()) for waits in of_steps) <= most, of_steps
    assert_same_curves(here, there, "dsacap-rl")


def test_processes_sum_what_they_log_without_waiting():
    joined = SimpleNamespace(
        device=GPU, num_processes=2, process_index=0, reduce=lambda values, reduction: values
    )
    with pretended_gpu() as waits:
        captioner = load_captioner("autoregressive", {"width": 16, "heads": 2}, SPEC).to("cuda")
        for parameter in captioner.parameters():
            parameter.grad = torch.ones_like(parameter)
        gradients = Gradients(
            captioner, captioner, torch.Tensor.to, captioner.loss, Training(**FEW), 6, joined
        )
        losses = {"loss": torch.ones((), device="cuda"), "reward": torch.tensor(2.0)}  # by the CPU
        waits.clear()
        summed = gradients._summed(losses)
        assert not waits, waits
        assert {name: value.item() for name, value in summed.items()} == {"loss": 1, "reward": 2}


def test_a_diverged_loss_is_found_at_the_next_logged_step(tiny_layout, tmp_path, monkeypatch):
    training = FEW | {"steps": 12, "warmup": 0, "learning_rate": 1e30}
    there = layout_of(tiny_layout, tmp_path, "cuda", training=training)
    with (
        on_gpu(monkeypatch) as of_steps,
        pytest.raises(UserError, match=r"train ar: the loss is (nan|inf) at step [1-3];"),
    ):
        train_system(there, "ar", 0)
    assert len(of_steps) == 4
    assert not list(there.system("ar", 0).rglob("*.safetensors"))


def test_an_encoder_is_trained_too(pixel_layout, tmp_path, monkeypatch):
    systems = tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)["systems"]
    systems["ar"]["training"] = {"fine_tune": {"learning_rate": 0.0005, "drawn": True}}
    here, there = (
        layout_of(pixel_layout, tmp_path, device, systems=systems, training=FEW)
        for device in ("cpu", "cuda")
    )
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_LOG_EVERY", 4)
        train_system(here, "ar", 0)
    with on_gpu(monkeypatch) as of_steps:
        train_system(there, "ar", 0)
    assert not any(of_steps), of_steps
    assert_same_curves(here, there, "ar")
