"""The pretended GPU itself: what it refuses, what it counts, and the faults that it must find."""

import copy

import pytest
import torch
from pretended import GPU, OnGPU, pretended_gpu
from torch import nn

from dsacap.baselines.autoregressive import Autoregressive
from dsacap.captioner.batch_parts import Part
from dsacap.captioner.interface import Batch
from helpers import SPEC, random_batch

MIXED = "expected all tensors on one device"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 1))


def test_steps_of_training_are_those_of_the_cpu_and_wait_for_nothing():
    x, here = torch.randn(3, 4), network()
    with pretended_gpu() as waits:
        there, x_there = copy.deepcopy(here).to("cuda"), x.to("cuda")
        assert {p.device for p in there.parameters()} == {GPU} and x_there.is_cuda
        waits.clear()
        for model, of in ((here, x), (there, x_there)):
            optimizer = torch.optim.AdamW(model.parameters())
            for _ in range(3):
                optimizer.zero_grad()
                model(of).square().mean().backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                optimizer.step()
        assert not waits
        for a, b in zip(here.parameters(), there.parameters(), strict=True):
            assert isinstance(b, OnGPU) and torch.equal(a, b.cpu())


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, cpu: x + cpu,
        lambda x, cpu: cpu * x[0],  # a single number of the GPU among many of the CPU
        lambda x, cpu: torch.cat([x, cpu]),
        lambda x, cpu: torch.stack([x[0], torch.tensor(1.0)]),
        lambda x, cpu: torch.where(x > 0, x, cpu),
        lambda x, cpu: cpu[x.long()],
        lambda x, cpu: x.index_copy_(0, torch.tensor([0]), cpu[:1]),
        lambda x, cpu: torch.stack([x, x]) @ cpu,
    ],
)
def test_mixed_devices_are_refused(mix):
    with pretended_gpu():
        x = torch.zeros(3, device="cuda")
        with pytest.raises(RuntimeError, match=rf"{MIXED}|on the CPU indexed by one on the GPU"):
            mix(x, torch.ones(3))


def test_what_a_gpu_takes_from_the_cpu_is_taken():
    with pretended_gpu() as waits:
        x = torch.zeros(3, device="cuda")
        assert (x + torch.tensor(2.0)).is_cuda  # a number travels with the operation
        assert (x.masked_fill(x == 0, 1.0)).is_cuda and x.new_ones(2).is_cuda
        x[1] = 5.0
        x[x > 4] = 6.0  # becomes masked_fill
        assert torch.ones(3).to("cuda", non_blocking=True).is_cuda
        assert not waits
        assert x.tolist() == [0.0, 6.0, 0.0]


@pytest.mark.parametrize(
    ("what", "wait"),
    [
        ("item", lambda x: x[0].item()),
        ("bool", lambda x: bool((x > 0).any())),
        ("tolist", lambda x: x.tolist()),
        ("copy to the CPU", lambda x: x.cpu()),
        ("copy to the CPU, late", lambda x: torch.zeros(3).copy_(x)),
        ("copy to the GPU", lambda x: torch.ones(3).to(x)),
        ("a list as an index", lambda x: x[[0, 2]]),
        ("a list to write to", lambda x: x.__setitem__([0, 2], 1.0)),
        ("new numbers", lambda x: torch.tensor([1.0], device=x.device)),
        ("new_tensor", lambda x: x.new_tensor(1.0)),
        ("nonzero", lambda x: x.nonzero()),
        ("a mask as an index", lambda x: x[x > 0]),
        ("a mask to write to", lambda x: x.__setitem__(x >= 0, torch.ones(3, device="cuda"))),
        ("unique", lambda x: x.unique()),
        ("one draw", lambda x: torch.multinomial(x + 1, 1)),
        ("rows repeated differently", lambda x: x.repeat_interleave((x + 1).long())),
    ],
)
def test_waiting_is_counted(what, wait):
    with pretended_gpu() as waits:
        x = torch.zeros(3, device="cuda")
        assert not waits
        wait(x)
        assert sum(waits.values()) >= 1, what


def test_numpy_does_not_read_a_gpu():
    with pretended_gpu(), pytest.raises(TypeError, match="cuda"):
        torch.zeros(3, device="cuda").numpy()


def on_gpu(images: int) -> Batch:
    batch = random_batch(images)
    return Batch(
        batch.image_ids,
        batch.features.to("cuda"),
        batch.captions.to("cuda"),
        part=Part(batch.captions),
    )


class ForgetsTheDevice(Autoregressive):
    """Makes a tensor on the CPU in the midst of the loss, the commonest fault on a GPU."""

    def _image_keys_values(self, batch):
        shifted = batch.features + torch.zeros(batch.features.shape[1:])
        return super()._image_keys_values(Batch(batch.image_ids, shifted))


class AsksEachStep(Autoregressive):
    """Looks at its loss, as a careful author would."""

    def loss(self, batch):
        losses = super().loss(batch)
        if losses["loss"] > 100:
            raise ValueError("the loss is too large")
        return losses


def test_planted_faults_are_found():
    size = Autoregressive.Model(width=16, heads=2)
    with pretended_gpu() as waits:
        with pytest.raises(RuntimeError, match=MIXED):
            ForgetsTheDevice(size, SPEC).to("cuda").loss(on_gpu(3))
        asking, batch = AsksEachStep(size, SPEC).to("cuda"), on_gpu(3)
        waits.clear()
        asking.loss(batch)["loss"].backward()
        assert sum(waits.values()) == 1
