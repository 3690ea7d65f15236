"""Random numbers of decodings; tests/gpu compares those drawn beside a GPU."""

import numpy as np
import pytest
import torch

from dsacap.captioner.interface import Batch
from dsacap.captioner.random_numbers import noise_of


def batch_of(*image_ids: int) -> Batch:
    return Batch(features=torch.zeros(len(image_ids), 2, 3), image_ids=list(image_ids))


def numbers(batch: Batch, kind: str, **options) -> np.ndarray:
    return noise_of(batch, 2, options.get("seed", 7), (2, 3), kind).numpy()


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_they_depend_on_the_image_and_not_on_the_batch(kind):
    together = numbers(batch_of(5, 11, 5), kind)
    assert together.shape == (3, 2, 2, 3)
    assert (together[0] == together[2]).all() and (together[0] != together[1]).all()
    assert (together[1:2] == numbers(batch_of(11), kind)).all()
    assert (together[0, 0] != together[0, 1]).all()
    assert (together != numbers(batch_of(5, 11, 5), kind, seed=8)).all()
