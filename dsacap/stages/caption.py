"""The stage `caption`: captions of a split by all decodings of a system."""

from typing import Any

from dsacap.captioner.interface import Captioner
from dsacap.common.files import write_json
from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

# Images that are captioned alone too, to check that a caption does not depend on its batch.
_ONE_BY_ONE = 32


def caption_split(layout: Layout, system: str, seed: int, split: str = "test") -> dict:
    """Caption every image of a split by every decoding of a system, and write the captions.

    The first images are captioned one by one too.

    Args:
        layout: The layout of the configuration.
        system: The system.
        seed: The seed of the row.
        split: The split.

    Returns:
        Facts for the manifest. `flips` counts, for each decoding, the images whose captions differ
        when they are captioned one by one; rounding can cause this.
    """
    inputs = Inputs(layout)
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    captions, flips = {}, {}
    for name, decoding in inputs.decodings(system).items():
        captions[name] = captions_of_split(
            inputs, store, captioner, split, decoding, f"caption by {system} {name}"
        )
        alone = captions_of_split(
            inputs,
            store,
            captioner,
            split,
            decoding,
            f"one by one: {system} {name}",
            count=_ONE_BY_ONE,
            batch_size=1,
        )
        flips[name] = sum(captions[name][image_id] != texts for image_id, texts in alone.items())
    write_json(layout.captions(system, seed), captions)
    images = len(next(iter(captions.values())))
    return {
        "split": split,
        "images": images,
        "decodings": list(captions),
        "one_by_one": len(alone),
        "flips": flips,
    }


def captions_of_split(
    inputs: Inputs,
    store: FeatureStore | PixelFeatures,
    captioner: Captioner,
    split: str,
    decoding: Any,
    description: str,
    count: int | None = None,
    batch_size: int | None = None,
) -> dict[int, list[str]]:
    """Caption the images of a split by one decoding.

    Args:
        inputs: The inputs of the run.
        store: What the system is given of photos.
        captioner: The system.
        split: The split.
        decoding: An instance of the system's `Decoding`.
        description: The label of the progress bar.
        count: How many images, from the first; None for all.
        batch_size: Images a batch; None for the configured size.

    Returns:
        Image id -> captions.
    """
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
