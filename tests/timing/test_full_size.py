"""The cost of a configuration at full size.

`measure_scale` itself, which takes minutes, runs the same functions in separate processes.
"""

import argparse
import dataclasses
from functools import partial

import pytest
import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import Vocabulary
from dsacap.timing import random_generator
from dsacap.timing.decode_cost import FlopCounter
from dsacap.timing.full_size import (
    Size,
    encoder_cost,
    peak_of,
    reward_cost,
    size_of,
    system_cost,
)
from dsacap.timing.random_inputs import random_examples
from helpers import tiny_config

SIZE = Size(batch_size=3, images=4, picture=64, pictures=2, vocabulary=120, seconds=0.01)
SPEC = ImageSpec(tokens=4, channels=16, vocabulary=120, max_words=32)


@pytest.fixture
def settings(tmp_path) -> dict:
    return tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)


def test_operations_are_counted_forward_and_backward():
    weight, frozen = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)
    with FlopCounter() as counter:
        (torch.randn(4, 8) @ weight).sum().backward()
    assert counter.get_total_flops() == 2 * (
        2 * 4 * 8 * 16
    )  # no gradient with respect to the input
    with FlopCounter() as counter, torch.no_grad():
        torch.randn(4, 8) @ frozen
        weight.expand(8, 16) @ frozen.mT
    assert counter.get_total_flops() == 2 * 4 * 8 * 16 + 2 * 8 * 16 * 8


@pytest.mark.parametrize("system", ["ar", "dsacap", "dsacap-rl"])
def test_the_cost_of_a_system(settings, system):
    found = system_cost(settings, system, SPEC, SIZE)
    assert (
        found["step"]["images"] == 3
        and found["step"]["seconds"] > 0
        and found["step"]["flops"] > 1e6
    )
    assert found["step"]["precision"] == "fp32" and found["step"]["parameters"] > 1000
    assert all(rate > 0 for rate in found["decode"].values()) and found["decode"]


def test_a_step_that_trains_the_encoder_includes_its_passes(settings):
    spec = dataclasses.replace(SPEC, channels=256)  # those of the scenes' encoder
    frozen, encoder = system_cost(settings, "ar", spec, SIZE), encoder_cost(settings, SIZE)
    settings["systems"]["ar"]["training"] = {"fine_tune": {"learning_rate": 0.001}}
    trained = system_cost(settings, "ar", spec, SIZE)
    assert trained["step"]["parameters"] - frozen["step"]["parameters"] > 300_000
    more = trained["step"]["flops"] - frozen["step"]["flops"]
    # Forward and backward are three times the encoder's pass, but without the pooled vector.
    assert 2.3 < more / SIZE.batch_size / encoder["flops_an_image"] < 3
    assert (
        trained["step"]["held_mib"] > frozen["step"]["held_mib"]
        and trained["decode"].keys() == frozen["decode"].keys()
    )


def test_the_cost_of_the_encoder_and_the_generator(settings):
    encoder, reward = encoder_cost(settings, SIZE), reward_cost(settings, SIZE)
    assert (encoder["tokens"], encoder["channels"]) == (4, 256)  # those of the scenes' encoder
    assert encoder["images_per_s"] > 0 and encoder["flops_an_image"] > 1e5
    assert reward["images_per_s"] > 0 and "caption prior" in reward["what"]


def test_a_named_pipeline_is_measured_by_random_networks_of_its_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(
        random_generator,
        "_TEXT",
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
    )
    monkeypatch.setattr(
        random_generator,
        "_UNET",
        {
            "cross_attention_dim": 16,
            "attention_head_dim": 8,
            "block_out_channels": [8] * 4,
            "norm_num_groups": 4,
            "layers_per_block": 1,
        },
    )
    monkeypatch.setattr(
        random_generator,
        "_VAE",
        random_generator._VAE
        | {"block_out_channels": [8] * 4, "norm_num_groups": 4, "layers_per_block": 1},
    )
    painted = random_generator.StableDiffusion2(64, 2, torch.device("cpu"))(3)
    assert painted.shape == (3, 3, 64, 64) and painted.isfinite().all()
    config = tiny_config(tmp_path, generator={"name": str(tmp_path), "steps": 1, "size": 64})
    reward = reward_cost(config.model_dump(mode="json", exclude_unset=True), SIZE)
    assert "Stable Diffusion 2.1" in reward["what"] and "1 step(s), 64 px" in reward["what"]


def test_captions_are_as_long_as_those_of_coco():
    captions = [
        caption
        for example in random_examples(200, Vocabulary([*"abcdefgh"]))
        for caption in example.tokens
    ]
    words = [len(caption.split()) for caption in captions]
    assert (
        len(captions) == 1000
        and sum(words) / len(words) == pytest.approx(10.5, abs=0.3)
        and 5 <= min(words) <= max(words) <= 20
    )


def test_the_peak_of_a_device_is_that_of_a_product():
    assert all(1e8 < peak < 1e16 for peak in peak_of(torch.device("cpu")).values())


def test_the_configuration_fills_in_missing_options(tmp_path):
    options = partial(
        argparse.Namespace,
        batch_size=None,
        images=None,
        picture=None,
        pictures=None,
        vocabulary=10_000,
        seconds=1.0,
    )
    config = tiny_config(tmp_path)
    assert size_of(config, options(images=7)) == Size(6, 7, 512, 8, 10_000, 1.0)
    with pytest.raises(UserError, match="--picture a multiple of 64"):
        size_of(config, options(picture=100))
