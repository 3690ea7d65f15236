"""What the stages `train` and `tune` share: the training loop on a row's settings and data."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dsacap.captioner.interface import Captioner
from dsacap.captioner.registry import release_of
from dsacap.data.prepared import Example
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.training.batches import drawn_examples
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore


@dataclass(frozen=True)
class Prepared:
    """What the training of a row begins with.

    Attributes:
        captioner: The system, with its first weights.
        examples: The images that it is trained on, and their captions.
        store: What it is given of photos.
        objective: What a tuning maximises; None for the captioner's own loss.
    """

    captioner: Captioner
    examples: Sequence[Example]
    store: FeatureStore | PixelFeatures
    objective: Callable | None = None


def fit(
    layout: Layout,
    system: str,
    seed: int,
    prepare: Callable[[Inputs, str, int], Prepared],
    verb: str,
    keep: Literal["best", "last"],
) -> dict:
    """Train or tune a row, and write its weights and curves to its folder.

    Args:
        layout: The layout of the configuration.
        system: The system.
        seed: The seed of the row.
        prepare: Makes what the training begins with.
        verb: The name of the stage, for the progress bar.
        keep: Whether the weights with the best validation CIDEr are stored, or the last ones.

    Returns:
        The facts of the training, for the manifest.
    """
    from dsacap.training.distributed import joined
    from dsacap.training.loop import train

    settings = layout.config.training_of(system)
    with joined(layout.config.device) as accelerator:
        inputs = Inputs(layout)
        work = prepare(inputs, system, seed)
        drawn = {"drawn_images": _drawn(work.examples)} if settings.images else {}
        facts = train(
            work.captioner,
            settings,
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
    release = release_of(layout.config.captioner_of(system))
    return facts | drawn | ({"captioner": release} if release else {})


def training_examples(inputs: Inputs, system: str, seed: int) -> list[Example]:
    """Return the train split, or what the row's seed draws of it if `images` says how many."""
    examples = inputs.examples("train")
    count = inputs.layout.config.training_of(system).images
    return drawn_examples(examples, count, seed) if count else examples


def _drawn(examples: Sequence[Example]) -> dict:
    """Describe the images that a row is trained on, for the manifest."""
    ids = [example.image_id for example in examples]
    digest = hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()
    return {"count": len(ids), "ids_sha256": digest}
