"""What measures on a pretended GPU: latency, steps, generators, and how large a batch can be."""

from functools import partial

import pytest
import torch
from gpu_training import on_gpu
from pretended import GPU, pretended_gpu

from dsacap.captioner.interface import ImageSpec
from dsacap.timing import full_size, workload
from dsacap.timing.clock import repeated
from dsacap.timing.full_size import Size, system_cost
from dsacap.timing.gpu_box import beside_transformers, latency_of
from dsacap.timing.random_generator import random_reconstruction
from dsacap.timing.workload import untrained
from helpers import tiny_config

SPEC = ImageSpec(tokens=4, channels=16, vocabulary=120, max_words=9)
SIZE = Size(batch_size=3, images=4, picture=64, pictures=2, vocabulary=120, seconds=0.01)


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path, device="cuda")


@pytest.mark.parametrize(("system", "decoding"), [("ar", "greedy"), ("dsacap", "K=1")])
def test_latency_and_cost_of_a_decoding(config, system, decoding):
    with pretended_gpu() as waits:
        subject = untrained(config, system, SPEC)
        assert subject.device.type == "cuda"
        waits.clear()
        seconds = repeated(lambda: subject.prepare("decode", decoding, 2), GPU, 1, 3)
        # That of a pretended event; around each call, the CPU waits for the GPU twice.
        assert seconds == [0.001] * 3
        assert sum(n for what, n in waits.items() if "clock.py" in what) == 8
        cost = subject.cost(decoding, 2)
        assert cost["passes"] == (9 if system == "ar" else 1)
        assert cost["flops"] > 0 and cost["allocated_mib"] == 1


def test_batches_are_doubled_while_they_fit(config, monkeypatch):
    caption = workload.caption_batch

    def in_little_memory(captioner, batch, *rest):
        if len(batch.image_ids) > 8:
            raise torch.OutOfMemoryError
        return caption(captioner, batch, *rest)

    monkeypatch.setattr(workload, "caption_batch", in_little_memory)
    with pretended_gpu():
        assert untrained(config, "ar", SPEC).largest_batch("greedy", 2) == 8


def test_the_parts_of_measure_gpu(config):
    settings = config.model_dump(mode="json", exclude_unset=True)
    with pretended_gpu():
        found = latency_of(settings, "dsacap", "K=1", SPEC, False, 2, 0.01)
        assert set(found["stats"]["data"]) == {0.001} and found["extra_info"]["allocated_mib"] == 1
        ours, theirs = beside_transformers(settings, "ar", "greedy", SPEC, False, 2, 0.01)
        assert ours["extra_info"]["whose"] == "ours" and theirs["stats"]["data"]


@pytest.mark.parametrize("system", ["ar", "dsacap-rl"])
def test_the_cost_of_a_step(config, monkeypatch, system):
    settings = config.model_dump(mode="json", exclude_unset=True)
    with on_gpu(monkeypatch) as of_steps:
        found = system_cost(settings, system, SPEC, SIZE)
    assert found["step"]["seconds"] == 0.001 and found["step"]["peak_mib"] == 1
    assert all(rate == 4000 for rate in found["decode"].values())
    # The captions of a tuning are read once; the clock waits before and after a step.
    of_each = {sum(n for what, n in of.items() if "clock.py" not in what) for of in of_steps}
    assert of_each == {int(system == "dsacap-rl")}


def test_the_generator_and_the_peak(config):
    with pretended_gpu():
        what, run = random_reconstruction(config, config.generator, 3, 64, GPU)
        assert "caption prior" in what and run().is_cuda
        product = partial(torch.mm, *torch.randn(2, 8, 8, device="cuda"))
        assert product().is_cuda
        seconds = full_size._seconds_of_product(16, torch.bfloat16, GPU)
        assert seconds == 0.001
