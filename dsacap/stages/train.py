"""This stage trains and tunes systems, and lets a teacher caption for the system that learns from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from dsacap.captioner.interface import Captioner
from dsacap.captioner.registry import release_of
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.config.experiment import Config
from dsacap.config.training import Rewards
from dsacap.data.prepared import Example
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.models import load_text_encoder
from dsacap.stages.caption import captions_of_split
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore


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
        store = (
            inputs.seen_by(system, seed, tuned_from=base)
            if config.sees_pixels(base)
            else inputs.seen_by(system)
        )
        return Prepared(
            captioner,
            inputs.examples("train"),
            store,
            _tuning_objective(inputs, captioner, system, seed),
        )
    torch.manual_seed(seed)
    captioner, examples = inputs.captioner(system), inputs.examples("train")
    if config.systems[system].distilled_from:
        lessons = read_json(inputs.layout.lessons(system, seed))
        examples = [
            replace(e, tokens=tuple(lessons[str(e.image_id)]))
            for e in examples
            if any(lessons[str(e.image_id)])
        ]
    return Prepared(captioner, examples, inputs.seen_by(system))


def check_verb(config: Config, verb: str, system: str) -> None:
    """UserError where the verb is train, tune or teach, and the system is not one of those."""
    settings = config.systems[system]
    if verb == "train" and settings.tuned_from:
        raise UserError(
            f"{system} is tuned from {settings.tuned_from}, not trained; use the verb tune"
        )
    if verb == "tune" and not settings.tuned_from:
        raise UserError(
            f"{system} is trained, not tuned; use the verb train, or give it tuned_from and tuning"
        )
    if verb == "teach" and not settings.distilled_from:
        raise UserError(f"{system} has no distilled_from, so nobody teaches it")


def train_system(layout: Layout, system: str, seed: int) -> dict:
    facts = _fit(layout, system, seed, "train", keep="best")
    if (teacher := layout.config.systems[system].distilled_from) is None:
        return facts
    spent = [
        read_json(manifest_of(layout.system(teacher.system, seed)))["facts"]["train_cpu_seconds"]
    ]
    spent += [
        read_json(manifest_of(layout.lessons(system, seed)))["cpu_seconds"],
        facts["train_cpu_seconds"],
    ]
    return facts | {"train_cpu_seconds": round(sum(spent), 1)}


def teach(layout: Layout, system: str, seed: int) -> dict:
    """What a distilled system learns from: its teacher's captions of the train images."""
    teacher = layout.config.systems[system].distilled_from
    inputs = Inputs(layout)
    captioner, decoding = (
        inputs.captioner(teacher.system, seed),
        inputs.decodings(teacher.system)[teacher.decoding],
    )
    lessons = captions_of_split(
        inputs,
        inputs.seen_by(teacher.system, seed),
        captioner,
        "train",
        decoding,
        f"teach {system} by {teacher.system} {teacher.decoding}",
    )
    write_json(layout.lessons(system, seed), lessons)
    return {"teacher": teacher.system, "decoding": teacher.decoding, "images": len(lessons)}


def tune_system(layout: Layout, system: str, seed: int) -> dict:
    """Tunes a trained system. What its manifest counts is of training and tuning together, and of the generator that rewards it."""
    facts = _fit(layout, system, seed, "tune", keep="last")
    before = read_json(manifest_of(layout.system(layout.config.systems[system].tuned_from, seed)))[
        "facts"
    ]
    spent = before["train_cpu_seconds"] + facts["train_cpu_seconds"]
    if layout.config.training_of(system).reconstructs:
        spent += read_json(manifest_of(layout.generator))["facts"].get(
            "train_cpu_seconds", 0
        )  # of a named pipeline nobody knows
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

    settings, base = (
        inputs.layout.config.training_of(system),
        inputs.layout.config.systems[system].tuned_from,
    )
    if settings.ngrams:
        return NgramObjective(captioner, settings)
    reward = RewardSum(
        settings.rewards, inputs.examples("train"), _judges(inputs, settings.rewards)
    )
    return Reinforce(captioner, inputs.captioner(base, seed), settings, reward, inputs.vocabulary)


def _judges(inputs: Inputs, rewards: Rewards) -> dict:
    """Those rewards that look at the picture, by name."""
    from dsacap.runs.models import load_reconstruction
    from dsacap.vision.generators.judges import ClipAlignment

    judges = {}
    if rewards.reconstruction:
        judges["reconstruction"] = load_reconstruction(inputs.layout)
    if rewards.clipscore:
        judges["clipscore"] = ClipAlignment(load_text_encoder(inputs.layout), inputs.store)
    return judges


def _fit(layout: Layout, system: str, seed: int, verb: str, keep: str) -> dict:
    """The training loop on a row's settings, data and folder."""
    from dsacap.training.distributed import joined
    from dsacap.training.loop import train

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
