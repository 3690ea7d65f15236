"""What the stages `train` and `tune` share: the training loop on a row's settings and data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dsacap.captioner.interface import Captioner
from dsacap.captioner.registry import release_of
from dsacap.data.prepared import Example
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
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

    with joined(layout.config.device) as accelerator:
        inputs = Inputs(layout)
        work = prepare(inputs, system, seed)
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
    release = release_of(layout.config.captioner_of(system))
    return facts | ({"captioner": release} if release else {})
