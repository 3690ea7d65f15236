import dataclasses

import pytest
import torch

from dsacap.baselines.prefix_lm import PrefixLM
from dsacap.common.errors import UserError
from helpers import SPEC, random_batch

WITH_CLASS = dataclasses.replace(SPEC, tokens=5)  # a class token before a grid of 2 x 2


@pytest.mark.parametrize("mapper", ["mlp", "transformer"])
@pytest.mark.parametrize("image", ["tokens", "class"])
def test_the_class_token_alone_is_read_if_asked_for(mapper, image):
    torch.manual_seed(0)
    model = PrefixLM.Model(width=16, heads=2, layers=1, prefix=3, mapper=mapper, image=image)
    captioner = PrefixLM(model, WITH_CLASS).eval()
    features = torch.randn(2, 5, SPEC.channels, requires_grad=True)
    prefix = captioner.mapper(features)
    assert prefix.shape == (2, 3, 16)
    prefix.square().sum().backward()
    is_read = features.grad.abs().sum((0, 2)) > 0
    assert is_read.tolist() == ([True] * 5 if image == "tokens" else [True] + [False] * 4)


def test_a_grid_alone_has_no_class_token():
    model = PrefixLM.Model(width=16, heads=2, layers=1, prefix=3, image="class")
    with pytest.raises(UserError, match=r"needs an encoder with a class token .* gives 4 tokens"):
        PrefixLM(model, SPEC)
    with pytest.raises(ValueError, match="neither tokens nor class"):
        PrefixLM.Model(image="pooled")


def test_it_can_be_trained():
    model = PrefixLM.Model(width=16, heads=2, layers=1, prefix=3, mapper="transformer")
    captioner = PrefixLM(dataclasses.replace(model, image="class"), WITH_CLASS)
    batch = random_batch(3)
    batch = dataclasses.replace(batch, features=torch.randn(3, 5, SPEC.channels))
    captioner.loss(batch)["loss"].backward()
    assert all(p.grad is not None for p in captioner.mapper.parameters())
