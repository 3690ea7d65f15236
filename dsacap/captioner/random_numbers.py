"""Random numbers of decodings: functions of the image and the sample, whatever the batch."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import torch
from torch import Tensor

from dsacap.captioner.interface import Batch

_MANY = 10_000  # numbers of a sample: to draw fewer takes less time than to start threads


def noise_of(
    batch: Batch, samples: int, seed: int, shape: tuple[int, ...], kind: str = "normal"
) -> Tensor:
    """Draw random numbers that depend on the image and the sample, but not on the batch.

    Each sample has a generator of its own, keyed by `(seed, image id, sample)`. Philox is
    counter-based, so creating a generator takes microseconds. Beside a GPU all cores draw the noise
    of images, because one takes a core half a millisecond, for which the GPU would wait; on a CPU a
    captioner keeps to its own thread.

    Args:
        batch: The images, whose ids are used, and the device.
        samples: Samples per image.
        seed: Seed of all generators.
        shape: Shape of the numbers of one sample.
        kind: `normal` (mean 0, variance 1) or `uniform` (in [0, 1)).

    Returns:
        Numbers of shape `(batch, samples, *shape)`, in float32.
    """
    numbers = np.empty((len(batch.image_ids), samples, *shape), np.float32)

    def draw(b: int, s: int) -> None:
        key = np.random.SeedSequence([seed, batch.image_ids[b], s])
        generator = np.random.Generator(np.random.Philox(key))
        numbers[b, s] = (
            generator.standard_normal(shape, np.float32)
            if kind == "normal"
            else generator.random(shape, np.float32)
        )

    device, places = batch.features.device, product(range(len(batch.image_ids)), range(samples))
    if device.type == "cpu" or math.prod(shape) < _MANY:
        for b, s in places:
            draw(b, s)
    else:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(lambda place: draw(*place), places))  # numpy releases Python's lock
    return torch.from_numpy(numbers).to(device, non_blocking=True)
