"""Systems: trained, tuned, made to caption, timed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dsacap.captioner import Captioner, ImageSpec
from dsacap.captioning import caption_images, device_of
from dsacap.config import Config, Rewards
from dsacap.data.dataset import Example, load_examples, load_vocabulary
from dsacap.errors import UserError
from dsacap.files import read_json, read_tensors, write_json
from dsacap.layout import Layout, manifest_of
from dsacap.memory import TrainMemory
from dsacap.registry import captioner_class, load_captioner, release_of
from dsacap.stages.data import load_configured_encoder, load_text_encoder
from dsacap.vision.features import FeatureStore
from dsacap.vision.pixels import PixelFeatures

_ONE_BY_ONE = 32  # test images that are captioned alone too, to see that a caption does not depend on its batch


class Inputs:
    """What training, decoding and timing read: features, vocabulary and the images of a split that have features."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.store = FeatureStore(layout.features)  # of the frozen encoder
        self.vocabulary = load_vocabulary(layout.data)
        words = tuple(self.vocabulary.words)
        self.spec = ImageSpec(self.store.tokens, self.store.channels, len(words), layout.config.text.max_words, words)

    def examples(self, split: str) -> list[Example]:
        return [example for example in load_examples(self.layout.data, split) if example.image_id in self.store]

    def captioner(self, system: str, seed: int | None = None) -> Captioner:
        """The system with fresh weights, or with its trained ones where a seed names the run."""
        settings = self.layout.config.trained(system)
        captioner = load_captioner(settings.captioner, settings.model, self.spec)
        if seed is not None:
            captioner.load_state_dict(self._weights(system, seed)["captioner"])
        captioner.learn_from(self.memory)
        return captioner.to(device_of(self.layout.config.device)).eval()

    def seen_by(self, system: str, seed: int | None = None, tuned_from: str | None = None) -> FeatureStore | PixelFeatures:
        """What the system is given of photos: the features on disk; or, where it has an encoder of its own, what that makes of the pixels,
        with its trained weights where a seed names the run, or with those of the run that it is `tuned_from`."""
        config = self.layout.config
        if not config.sees_pixels(system):
            return self.store
        fine_tune = config.training_of(system).fine_tune
        drawn = fine_tune is not None and fine_tune.drawn
        seen = PixelFeatures(self.layout.pixels, self.store, load_configured_encoder(self.layout), drawn)
        if seed is not None:
            seen.encoder.load_state_dict(self._weights(tuned_from or system, seed)["encoder"])
        seen.encoder.to(device_of(config.device))
        return seen

    def _weights(self, system: str, seed: int) -> dict[str, dict[str, Tensor]]:
        """Of a trained system: those of its captioner, and of its encoder where it has one."""
        tensors, _ = read_tensors(self.layout.system(system, seed) / "model.safetensors")
        if not self.layout.config.sees_pixels(system):
            return {"captioner": tensors}
        parts: dict[str, dict[str, Tensor]] = {"captioner": {}, "encoder": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        return parts

    @cached_property
    def memory(self) -> TrainMemory:
        return TrainMemory(lambda: self.examples("train"), self.store, self.vocabulary, self.spec.max_words)

    def decodings(self, system: str) -> dict:
        """The system's decodings by name; the first one also selects the weights on validation."""
        decoding = captioner_class(self.layout.config.trained(system).captioner).Decoding
        return {name: decoding(**options) for name, options in self.layout.config.systems[system].decodings.items()}


@dataclass(frozen=True)
class Prepared:
    """What a row's training begins with: weights, images and their captions, what it is given of photos, and, of a tuning, what it
    maximises."""

    captioner: Captioner
    examples: Sequence[Example]
    store: FeatureStore | PixelFeatures
    objective: Callable | None = None


def prepared(inputs: Inputs, system: str, seed: int) -> Prepared:
    config = inputs.layout.config
    if base := config.systems[system].tuned_from:
        captioner = inputs.captioner(base, seed)
        store = inputs.seen_by(system, seed, tuned_from=base) if config.sees_pixels(base) else inputs.seen_by(system)
        return Prepared(captioner, inputs.examples("train"), store, _tuning_objective(inputs, captioner, system, seed))
    torch.manual_seed(seed)
    captioner, examples = inputs.captioner(system), inputs.examples("train")
    if config.systems[system].distilled_from:
        lessons = read_json(inputs.layout.lessons(system, seed))
        examples = [replace(e, tokens=tuple(lessons[str(e.image_id)])) for e in examples if any(lessons[str(e.image_id)])]
    return Prepared(captioner, examples, inputs.seen_by(system))


def check_verb(config: Config, verb: str, system: str) -> None:
    """UserError where the verb is train, tune or teach, and the system is not one of those."""
    settings = config.systems[system]
    if verb == "train" and settings.tuned_from:
        raise UserError(f"{system} is tuned from {settings.tuned_from}, not trained; use the verb tune")
    if verb == "tune" and not settings.tuned_from:
        raise UserError(f"{system} is trained, not tuned; use the verb train, or give it tuned_from and tuning")
    if verb == "teach" and not settings.distilled_from:
        raise UserError(f"{system} has no distilled_from, so nobody teaches it")


def train_system(layout: Layout, system: str, seed: int) -> dict:
    facts = _fit(layout, system, seed, "train", keep="best")
    if (teacher := layout.config.systems[system].distilled_from) is None:
        return facts
    spent = [read_json(manifest_of(layout.system(teacher.system, seed)))["facts"]["train_cpu_seconds"]]
    spent += [read_json(manifest_of(layout.lessons(system, seed)))["cpu_seconds"], facts["train_cpu_seconds"]]
    return facts | {"train_cpu_seconds": round(sum(spent), 1)}


def teach(layout: Layout, system: str, seed: int) -> dict:
    """What a distilled system learns from: its teacher's captions of the train images."""
    teacher = layout.config.systems[system].distilled_from
    inputs = Inputs(layout)
    captioner, decoding = inputs.captioner(teacher.system, seed), inputs.decodings(teacher.system)[teacher.decoding]
    lessons = _captions(
        inputs, inputs.seen_by(teacher.system, seed), captioner, "train", decoding, f"teach {system} by {teacher.system} {teacher.decoding}"
    )
    write_json(layout.lessons(system, seed), lessons)
    return {"teacher": teacher.system, "decoding": teacher.decoding, "images": len(lessons)}


def tune_system(layout: Layout, system: str, seed: int) -> dict:
    """Tunes a trained system. What its manifest counts is of training and tuning together, and of the generator that rewards it."""
    facts = _fit(layout, system, seed, "tune", keep="last")
    before = read_json(manifest_of(layout.system(layout.config.systems[system].tuned_from, seed)))["facts"]
    spent = before["train_cpu_seconds"] + facts["train_cpu_seconds"]
    if layout.config.training_of(system).reconstructs:
        spent += read_json(manifest_of(layout.generator))["facts"].get("train_cpu_seconds", 0)  # of a named pipeline nobody knows
    return {
        **facts,
        "images_seen": before["images_seen"] + facts["images_seen"],
        "train_cpu_seconds": round(spent, 1),
        "tune_cpu_seconds": facts["train_cpu_seconds"],
    }


def _tuning_objective(inputs: Inputs, captioner: Captioner, system: str, seed: int):
    from dsacap.training.ngram_objective import NgramObjective
    from dsacap.training.reinforce import Reinforce
    from dsacap.training.rewards import RewardSum

    settings, base = inputs.layout.config.training_of(system), inputs.layout.config.systems[system].tuned_from
    if settings.ngrams:
        return NgramObjective(captioner, settings)
    reward = RewardSum(settings.rewards, inputs.examples("train"), _judges(inputs, settings.rewards))
    return Reinforce(captioner, inputs.captioner(base, seed), settings, reward, inputs.vocabulary)


def _judges(inputs: Inputs, rewards: Rewards) -> dict:
    """Those rewards that look at the picture, by name."""
    from dsacap.stages.generator import load_reconstruction
    from dsacap.training.rewards import ClipAlignment

    judges = {}
    if rewards.reconstruction:
        judges["reconstruction"] = load_reconstruction(inputs.layout)
    if rewards.clipscore:
        judges["clipscore"] = ClipAlignment(load_text_encoder(inputs.layout), inputs.store)
    return judges


def _fit(layout: Layout, system: str, seed: int, verb: str, keep: str) -> dict:
    """The training loop on a row's settings, data and folder."""
    from dsacap.training.loop import train
    from dsacap.training.processes import joined

    with joined(layout.config.device) as accelerator:
        inputs = Inputs(layout)
        work = prepared(inputs, system, seed)
        facts = train(
            work.captioner,
            layout.config.training_of(system),
            seed,
            work.examples,
            inputs.examples("val"),
            work.store,
            inputs.vocabulary,
            next(iter(inputs.decodings(system).values())),
            layout.system(system, seed),
            f"{verb} {system}",
            accelerator,
            work.objective,
            keep,
            fused=layout.config.arithmetic == "portable",
        )
    release = release_of(layout.config.trained(system).captioner)
    return facts | ({"captioner": release} if release else {})


def caption_split(layout: Layout, system: str, seed: int, split: str = "test") -> dict:
    """Captions of every image of a split by every decoding of a system.

    The first images are captioned one by one too: `flips` counts those whose captions come out otherwise, which rounding alone can cause.
    """
    inputs = Inputs(layout)
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    captions, flips = {}, {}
    for name, decoding in inputs.decodings(system).items():
        captions[name] = _captions(inputs, store, captioner, split, decoding, f"caption by {system} {name}")
        alone = _captions(inputs, store, captioner, split, decoding, f"one by one: {system} {name}", count=_ONE_BY_ONE, batch_size=1)
        flips[name] = sum(captions[name][image_id] != said for image_id, said in alone.items())
    write_json(layout.captions(system, seed), captions)
    images = len(next(iter(captions.values())))
    return {"split": split, "images": images, "decodings": list(captions), "one_by_one": len(alone), "flips": flips}


def complete_captions(layout: Layout, system: str, seed: int) -> dict:
    """How a system's decodings that claims test for it go on from right and from wrong beginnings of captions of test images."""
    from dsacap.data.prefixes import WORDS, beginnings

    inputs = Inputs(layout)
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    if not captioner.completes:
        raise UserError(f"{system}: cannot go on from given words, so no claim can test its recovery")
    begun = beginnings(inputs.examples("test"), inputs.examples("train"), inputs.vocabulary)
    found: dict[str, dict] = {}
    for name in layout.completed[system]:
        decoding, settings = inputs.decodings(system)[name], layout.config.decoding
        for at, which in enumerate(("after_right", "after_wrong")):
            captions = caption_images(
                captioner,
                store,
                inputs.vocabulary,
                list(begun),
                decoding,
                samples=1,
                seed=settings.seed,
                batch_size=settings.batch_size,
                description=f"complete by {system} {name}, {which}",
                prefix_of={image_id: pair[at] for image_id, pair in begun.items()},
            )
            found.setdefault(name, {})[which] = {i: " ".join(said[0].split()[WORDS:]) for i, said in captions.items()}
    write_json(layout.completions(system, seed), found)
    return {"images": len(begun), "decodings": list(found)}


def _captions(
    inputs: Inputs,
    store: FeatureStore | PixelFeatures,
    captioner: Captioner,
    split: str,
    decoding,
    description: str,
    count: int | None = None,
    batch_size: int | None = None,
) -> dict[int, list[str]]:
    """Of all images of a split, or of the first `count`."""
    settings = inputs.layout.config.decoding
    return caption_images(
        captioner,
        store,
        inputs.vocabulary,
        [example.image_id for example in inputs.examples(split)][:count],
        decoding,
        samples=settings.samples,
        seed=settings.seed,
        batch_size=batch_size or settings.batch_size,
        description=description,
    )


def time_systems(layout: Layout) -> dict:
    """Latency of every system and of the encoder."""
    from dsacap.timing.latency import time_decodings

    timed = time_decodings(layout.config)
    write_json(layout.latency, timed)
    return {"machine": timed["machine"], "warmup": timed["warmup"], "rounds": timed["rounds"]}
