"""This stage captions a split by all decodings of a system."""

from dsacap.captioner.interface import Captioner
from dsacap.common.files import write_json
from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

_ONE_BY_ONE = 32  # test images that are captioned alone too, to see that a caption does not depend on its batch


def caption_split(layout: Layout, system: str, seed: int, split: str = "test") -> dict:
    """Captions of every image of a split by every decoding of a system.

    The first images are captioned one by one too: `flips` counts those whose captions come out otherwise, which rounding alone can cause.
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
        flips[name] = sum(captions[name][image_id] != said for image_id, said in alone.items())
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
