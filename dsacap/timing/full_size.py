"""How fast a configuration goes at its own size, before anything is downloaded or trained: weights and features are random, their shapes
are the configured ones. Each system is measured in a process of its own, so that its peak of memory is its own."""

import argparse
import dataclasses
import logging
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from dsacap.captioner.interface import Batch, ImageSpec
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.errors import UserError
from dsacap.common.machine import device_of, machine
from dsacap.common.progress import progress
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config, parse_config
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.timing.clock import repeated
from dsacap.timing.decode_cost import FlopCounter
from dsacap.timing.step_cost import cost_of_step
from dsacap.timing.workload import RandomCaptions
from dsacap.vision.features.pixels import PixelFeatures

_WORDS = (10.5, 2.4)  # mean and spread of a COCO caption's words
_WARMUP, _CALLS = 1, 10


@dataclass(frozen=True)
class Size:
    """What is measured at once: images of a training step, of an encoding or decoding; width and height of the generator's pictures in
    pixels, and how many; how large the vocabulary is; and seconds that one measurement may take."""

    batch_size: int
    images: int
    picture: int
    pictures: int
    vocabulary: int
    seconds: float


def size_of(config: Config, asked: argparse.Namespace) -> Size:
    """What was asked for, and the configuration's where nothing was. UserError where a number makes no sense."""
    generator = config.generator
    size = Size(
        batch_size=asked.batch_size or config.training.batch_size,
        images=asked.images or config.decoding.batch_size,
        picture=asked.picture or (generator.size if generator else 512),
        pictures=asked.pictures or (generator.batch_size if generator else 1),
        vocabulary=asked.vocabulary,
        seconds=asked.seconds,
    )
    if min(dataclasses.astuple(size)) <= 0 or size.picture % 64 or size.vocabulary < 100:
        raise UserError(
            "measure-scale: numbers are above 0, --picture is a multiple of 64, --vocabulary 100 or more"
        )
    return size


def measure_scale(config: Config, size: Size) -> dict:
    """Peak of the device, and what each part does in a second. UserError where nobody says how many images there are."""
    if not isinstance(config.dataset, Scenes) and config.dataset.expected is None:
        raise UserError(
            "measure-scale: needs dataset.expected, the number of images of each split, to say what all of them take"
        )
    settings, parts = (
        config.model_dump(mode="json", exclude_unset=True),
        [encoder_cost, *([reward_cost] if config.generator else [])],
    )
    found = {}
    steps = progress([*parts, *config.systems], "measure", "part")
    for part in steps:
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), logging.disable, (logging.WARNING,)
        ) as alone:  # weights are missed
            if callable(part):
                found[part.__name__] = alone.submit(part, settings, size).result()
            else:
                tokens, channels = (
                    found["encoder_cost"]["tokens"],
                    found["encoder_cost"]["channels"],
                )
                spec = ImageSpec(tokens, channels, size.vocabulary, config.text.max_words)
                found.setdefault("systems", {})[part] = alone.submit(
                    system_cost, settings, part, spec, size
                ).result()
    device = device_of(config.device)
    return {
        "machine": machine(device),
        "kind": device.type,
        "peak": peak_of(device),
        "size": dataclasses.asdict(size),
        **found,
    }


def peak_of(device: torch.device) -> dict[str, float]:
    """Operations a second of a product of two square matrices, by precision: what no network can pass."""
    side, found = 8192 if device.type == "cuda" else 1024, {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        found[name] = (
            2 * side**3 / min(repeated(lambda a=a, b=b: partial(torch.mm, a, b), device, 2, 10, 5))
        )
    return found


def system_cost(settings: dict, system: str, spec: ImageSpec, size: Size) -> dict:
    """Of a training or tuning step, and images/s of each decoding."""
    from dsacap.training.distributed import joined
    from dsacap.training.loop import Step

    config = _config(settings)
    vocabulary = Vocabulary([*SPECIALS, *(f"w{i}" for i in range(size.vocabulary - len(SPECIALS)))])
    training = config.training_of(system)
    with joined(config.device) as accelerator:
        store = (
            _Pixels(config).on(accelerator.device) if config.sees_pixels(system) else _Store(spec)
        )
        training = training.model_copy(update={"batch_size": size.batch_size, "accumulate": 1})
        captioner = _captioner(config, system, spec, accelerator.device)
        examples = _examples(max(2 * size.batch_size, 64), vocabulary)
        objective = _objective(config, system, spec, captioner, examples, vocabulary, training)
        take = Step(
            captioner, training, 0, examples, store, vocabulary, system, accelerator, objective
        )
        cost = cost_of_step(take, accelerator.device, size.seconds)
        captioner.eval().endless = True
        with torch.no_grad():
            batch = Batch(
                tuple(range(size.images)),
                store.features(store.rows(range(size.images)), accelerator.device),
            )
        decoding_class = captioner_class(config.trained(system).captioner).Decoding
        rates = {}
        for name, options in config.systems[system].decodings.items():
            decode = partial(captioner.caption, batch, 1, 0, decoding_class(**options))
            rates[name] = size.images / _seconds(decode, accelerator.device, size)
    return {
        "step": cost | {"precision": training.precision, "compiled": training.compile},
        "decode": rates,
    }


def encoder_cost(settings: dict, size: Size) -> dict:
    config = _config(settings)
    device, encoder = device_of(config.device), _encoder(config.encoder.name, config.encoder.grid)
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
    """Of captions to pictures, and of pictures to what the encoder sees in them."""
    config = _config(settings)
    device = device_of(config.device)
    what, run = _reconstruction(config, size, device)
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


def _captioner(config: Config, system: str, spec: ImageSpec, device: torch.device) -> nn.Module:
    trained = config.trained(system)
    captioner = load_captioner(trained.captioner, trained.model, spec).to(device)
    captioner.learn_from(RandomCaptions(spec))
    return captioner


def _objective(
    config: Config, system: str, spec: ImageSpec, captioner, examples, vocabulary, training
):
    """A tuning's, with what its judges do left out: that is measured apart."""
    from dsacap.training.ngram_objective import NgramObjective
    from dsacap.training.reinforce import Reinforce
    from dsacap.training.rewards import RewardSum

    if not config.systems[system].tuned_from:
        return None
    if training.ngrams:
        return NgramObjective(captioner, training)
    before = _captioner(config, system, spec, next(captioner.parameters()).device)
    judges = {name: _NoJudge() for name in ("reconstruction", "clipscore")}
    return Reinforce(
        captioner, before, training, RewardSum(training.rewards, examples, judges), vocabulary
    )


class _NoJudge:
    def score(self, image_ids: Sequence[int], captions_BS: Sequence[Sequence[str]]) -> np.ndarray:
        return np.zeros((len(captions_BS), len(captions_BS[0])))


class _Store:
    """Random features, in memory."""

    views = 1

    def __init__(self, spec: ImageSpec):
        self._features = torch.randn(256, spec.tokens, spec.channels)

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        return self._features[torch.tensor(image_ids) % len(self._features)]

    def features(self, rows_BNC: Tensor, device: torch.device | str) -> Tensor:
        return rows_BNC.to(device)


class _Pixels(PixelFeatures):
    """Random pixels, in memory, for an encoder with random weights."""

    def __init__(self, config: Config):
        self.drawn, self.encoder = (
            False,
            _encoder(config.encoder.name, config.encoder.grid).for_photos_alone(),
        )
        self._pixels = torch.randint(256, (256, 3, *self.encoder.image_size), dtype=torch.uint8)

    def on(self, device: torch.device) -> "_Pixels":
        self.encoder.to(device)
        return self

    def rows(
        self,
        image_ids: Sequence[int],
        views: Mapping[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        return self._pixels[torch.tensor(image_ids) % len(self._pixels)]

    def features(self, rows_B3HW: Tensor, device: torch.device | str) -> Tensor:
        return self.encoder.see(rows_B3HW.to(device) / 255)[0]


def _examples(images: int, vocabulary: Vocabulary) -> list[Example]:
    """Of five captions of random words each, as long as COCO's."""
    rng, words = np.random.default_rng(0), np.array(vocabulary.words[len(SPECIALS) :])
    examples = []
    for number in range(images):
        lengths = rng.normal(*_WORDS, 5).round().clip(5, 20).astype(int)
        said = tuple(" ".join(rng.choice(words, length)) for length in lengths)
        examples.append(
            Example(CaptionedImage(number, f"{number}.jpg", "random", "train", said), said)
        )
    return examples


def _encoder(name: str | None, grid: int | None = None):
    """An encoder of a configuration, with random weights; without a name the tiny CLIP."""
    from dsacap.vision.encoders.clip_encoder import ClipEncoder
    from dsacap.vision.encoders.load import without_weights
    from dsacap.vision.encoders.tiny_clip import MODEL

    if name is None:
        import open_clip

        return ClipEncoder(open_clip.CLIP(**MODEL), None, grid)
    try:
        return without_weights(name, grid)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(
            f"encoder {name}: cannot be had with random weights ({error}); only open_clip's and timm's names can"
        ) from None


def _reconstruction(
    config: Config, size: Size, device: torch.device
) -> tuple[str, Callable[[], object]]:
    """What stands for the configured generator, and a call that looks at pictures of so many captions."""
    from dsacap.timing.random_generator import StableDiffusion2
    from dsacap.vision.generators.caption_prior import new_caption_prior

    settings, sight = config.generator, config.generator.encoder or config.encoder
    encoders = [
        _encoder(sight.name, sight.grid),
        *(_encoder(other.name) for other in getattr(sight, "beside", ())),
    ]
    if settings.train:
        tokens_BNC, pooled_BE = encoders[0](torch.randn(1, 3, *encoders[0].image_size))
        seen = (
            pooled_BE.shape[1]
            if settings.compare == "pooled"
            else tokens_BNC.shape[2] * settings.grid**2
        )
        captions = [
            example.tokens[0]
            for example in _examples(size.pictures, Vocabulary([*SPECIALS, *map(str, range(100))]))
        ]
        shape = {
            "width": settings.train.width,
            "layers": settings.train.layers,
            "max_words": config.text.max_words,
        }
        prior = new_caption_prior(captions, seen, **shape).to(device)
        return "the caption prior of the configuration, random weights", partial(
            prior, captions, torch.randn(size.pictures, seen).to(device)
        )
    painter = StableDiffusion2(size.picture, settings.steps, device)

    def run() -> None:
        pictures = painter(size.pictures)
        for encoder in encoders:
            encoder.to(device)(nn.functional.interpolate(pictures, encoder.image_size).float())

    told = f"the networks of Stable Diffusion 2.1, which are SD-Turbo's, random weights, {settings.steps} step(s), {size.picture} px"
    return told, run
