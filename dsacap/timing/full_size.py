"""The throughput and memory of a configuration at its full size, before any download or training.

Weights and features are random, and their shapes are the configured ones. Each part is measured in
a process of its own, so that its peak of memory is its own.
"""

import argparse
import dataclasses
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dsacap.captioner.interface import Batch, Captioner, ImageSpec
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.errors import UserError
from dsacap.common.machine import device_of, machine
from dsacap.common.progress import progress
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config, parse_config
from dsacap.config.parsing import decoding_of
from dsacap.config.training import Training, Tuning
from dsacap.data.prepared import Example
from dsacap.decoding.caption_batch import caption_batch
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.timing.clock import repeated
from dsacap.timing.decode_cost import FlopCounter
from dsacap.timing.random_inputs import RandomFeatures, random_examples
from dsacap.timing.step_cost import cost_of_step
from dsacap.timing.workload import RandomCaptions, captioner_name

if TYPE_CHECKING:
    from dsacap.training.gradients import Objective
    from dsacap.vision.features.pixels import PixelFeatures
    from dsacap.vision.features.store import FeatureStore

_WARMUP, _CALLS = 1, 10


@dataclass(frozen=True)
class Size:
    """The amount of work that is measured at a time.

    Attributes:
        batch_size: Images of a training step.
        images: Images that are encoded or decoded at a time.
        picture: Width and height of the generator's images in pixels.
        pictures: Images that are generated at a time.
        vocabulary: Words of the vocabulary.
        seconds: The time that one measurement may take.
    """

    batch_size: int
    images: int
    picture: int
    pictures: int
    vocabulary: int
    seconds: float


def size_of(config: Config, options: argparse.Namespace) -> Size:
    """Combine the options of the command line with the configuration, which fills in the rest.

    Args:
        config: The configuration.
        options: Values for the fields of `Size`; None takes the configuration's value.

    Returns:
        The amount of work to measure.

    Raises:
        UserError: A number is out of range.
    """
    generator = config.generator
    size = Size(
        batch_size=options.batch_size or config.training.batch_size,
        images=options.images or config.decoding.batch_size,
        picture=options.picture or (generator.size if generator else 512),
        pictures=options.pictures or (generator.batch_size if generator else 1),
        vocabulary=options.vocabulary,
        seconds=options.seconds,
    )
    if min(dataclasses.astuple(size)) <= 0 or size.picture % 64 or size.vocabulary < 100:
        raise UserError(
            "measure-scale: all numbers must be above 0, --picture a multiple of 64, and"
            " --vocabulary at least 100"
        )
    return size


def measure_scale(config: Config, size: Size) -> dict:
    """Measure the device and each part of a configuration.

    Args:
        config: The configuration.
        size: The amount of work per measurement.

    Returns:
        The machine, the peak of its device in operations per second, `size`, the results of
        `encoder_cost` and `reward_cost`, and those of `system_cost` by system.

    Raises:
        UserError: The configuration does not say how many images the data set has.
    """
    if not isinstance(config.dataset, Scenes) and config.dataset.expected is None:
        raise UserError(
            "measure-scale: dataset.expected is missing; set it to the number of images of each"
            " split, from which the total times are computed"
        )
    settings = config.model_dump(mode="json", exclude_unset=True)
    parts = [encoder_cost, *([reward_cost] if config.generator else [])]
    measured: dict[str, Any] = {}
    steps = progress([*parts, *config.systems], "measure", "part")
    for part in steps:
        # Without logging, since libraries warn about weights that are missing on purpose.
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), logging.disable, (logging.WARNING,)
        ) as process:
            if callable(part):
                measured[part.__name__] = process.submit(part, settings, size).result()
            else:
                encoder = measured["encoder_cost"]
                spec = ImageSpec(
                    encoder["tokens"], encoder["channels"], size.vocabulary, config.text.max_words
                )
                measured.setdefault("systems", {})[part] = process.submit(
                    system_cost, settings, part, spec, size
                ).result()
    device = device_of(config.device)
    return {
        "machine": machine(device),
        "kind": device.type,
        "peak": peak_of(device),
        "size": dataclasses.asdict(size),
        **measured,
    }


def peak_of(device: torch.device) -> dict[str, float]:
    """Measure the operations per second of a large matrix product, which no network can exceed.

    Args:
        device: The device to measure.

    Returns:
        Operations per second by precision: `fp32` and `bf16`.
    """
    side = 8192 if device.type == "cuda" else 1024
    return {
        name: 2 * side**3 / _seconds_of_product(side, dtype, device)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }


def _seconds_of_product(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return the shortest of ten times that a product of two square matrices takes."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return min(repeated(lambda: partial(torch.mm, a, b), device, 2, 10, 5))


def system_cost(settings: dict, system: str, spec: ImageSpec, size: Size) -> dict:
    """Measure the training or tuning step of a system, and its decodings.

    Args:
        settings: The configuration as plain data.
        system: The name of the system.
        spec: The shapes of its input and output.
        size: The amount of work per measurement.

    Returns:
        `step` as `cost_of_step` returns it, with precision and compilation; and `decode`, the
        images per second of each decoding.
    """
    from dsacap.training.distributed import joined
    from dsacap.training.loop import Step

    config = _config(settings)
    vocabulary = Vocabulary([*SPECIALS, *(f"w{i}" for i in range(size.vocabulary - len(SPECIALS)))])
    training = config.training_of(system)
    with joined(config.device) as accelerator:
        store = _store(config, system, spec, accelerator.device)
        training = training.model_copy(update={"batch_size": size.batch_size, "accumulate": 1})
        captioner = _captioner(config, system, spec, accelerator.device)
        examples = random_examples(max(2 * size.batch_size, 64), vocabulary)
        objective = _objective(config, system, spec, captioner, examples, vocabulary, training)
        train_step = Step(
            captioner, training, 0, examples, store, vocabulary, system, accelerator, objective
        )
        cost = cost_of_step(train_step, accelerator.device, size.seconds)
        captioner.eval().endless = True
        ids = tuple(range(size.images))
        with torch.no_grad():
            batch = Batch(ids, store.read(ids, device=accelerator.device))
        captioner_type = captioner_class(captioner_name(config, system))
        rates = {}
        for name, options in config.systems[system].decodings.items():
            decoding = decoding_of(captioner_type, options, name)
            caption = partial(caption_batch, captioner, batch, 1, 0, decoding)
            rates[name] = size.images / _seconds(caption, accelerator.device, size)
    return {
        "step": cost | {"precision": training.precision, "compiled": training.compile},
        "decode": rates,
    }


def encoder_cost(settings: dict, size: Size) -> dict:
    """Measure the encoder.

    Args:
        settings: The configuration as plain data.
        size: The amount of work per measurement.

    Returns:
        Tokens, channels, images per second, and floating-point operations per image.
    """
    from dsacap.timing.random_encoder import random_encoder

    config = _config(settings)
    device = device_of(config.device)
    encoder = random_encoder(config.encoder)
    encoder.to(device)
    pixels = torch.randn(size.images, 3, *encoder.image_size, device=device)
    with FlopCounter() as counter:
        tokens_BNC, _ = encoder(pixels)
    return {
        "tokens": tokens_BNC.shape[1],
        "channels": tokens_BNC.shape[2],
        "images_per_s": size.images / _seconds(partial(encoder, pixels), device, size),
        "flops_an_image": counter.get_total_flops() // size.images,
    }


def reward_cost(settings: dict, size: Size) -> dict:
    """Measure the generator: captions to images, and images to their features.

    Args:
        settings: The configuration as plain data.
        size: The amount of work per measurement.

    Returns:
        What was measured in words, images per second, and floating-point operations per image.

    Raises:
        UserError: The configuration has no generator.
    """
    from dsacap.timing.random_generator import random_reconstruction

    config = _config(settings)
    if config.generator is None:
        raise UserError("measure-scale: the configuration has no generator section to measure")
    device = device_of(config.device)
    what, run = random_reconstruction(config, config.generator, size.pictures, size.picture, device)
    with FlopCounter() as counter:
        run()
    rate = size.pictures / _seconds(run, device, size)
    return {
        "what": what,
        "images_per_s": rate,
        "flops_an_image": counter.get_total_flops() // size.pictures,
    }


def _seconds(run: Callable[[], object], device: torch.device, size: Size) -> float:
    times = sorted(repeated(lambda: run, device, _WARMUP, _CALLS, size.seconds))
    return times[len(times) // 2]


def _config(settings: dict) -> Config:
    config = parse_config(settings, "configuration")
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    return config


def _store(
    config: Config, system: str, spec: ImageSpec, device: torch.device
) -> "FeatureStore | PixelFeatures":
    if not config.sees_pixels(system):
        return RandomFeatures(spec)
    from dsacap.timing.random_encoder import RandomPixels

    return RandomPixels(config).to(device)


def _captioner(config: Config, system: str, spec: ImageSpec, device: torch.device) -> Captioner:
    name, model = captioner_name(config, system), config.trained(system).model
    captioner = load_captioner(name, model, spec).to(device)
    captioner.learn_from(RandomCaptions(spec))
    return captioner


def _objective(
    config: Config,
    system: str,
    spec: ImageSpec,
    captioner: Captioner,
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    training: Training,
) -> "Objective | None":
    """Return the objective of a tuning without the work of its judges, which is measured apart."""
    from dsacap.training.ngram_objective import NgramObjective
    from dsacap.training.reinforce import Reinforce
    from dsacap.training.rewards import RewardSum

    if not isinstance(training, Tuning):
        return None
    if training.ngrams:
        return NgramObjective(captioner, training)
    assert (
        training.rewards is not None
    )  # the configuration requires rewards where ngrams are absent
    before = _captioner(config, system, spec, next(captioner.parameters()).device)
    names = ("reconstruction", "contrast", "clipscore")
    judges: dict[str, Any] = {name: _NoJudge() for name in names}
    return Reinforce(
        captioner, before, training, RewardSum(training.rewards, examples, judges), vocabulary
    )


class _NoJudge:
    # Not a subclass of Judge, whose module would load diffusers in every process that measures.

    def score(self, image_ids: Sequence[int], captions_BS: Sequence[Sequence[str]]) -> np.ndarray:
        return np.zeros((len(captions_BS), len(captions_BS[0])))
