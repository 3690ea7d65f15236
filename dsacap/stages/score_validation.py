"""The stage `score-validation`: CIDEr of a system's decodings on the validation split."""

from statistics import fmean

from dsacap.common.files import write_json
from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout


def score_validation(layout: Layout, system: str, seed: int) -> dict:
    """Caption the validation images by every decoding of a system, and score the captions.

    Images and scores are those by which training chooses the weights, so the first decoding gets
    the validation score of its training again.

    Returns:
        Facts for the manifest: the CIDEr of each decoding.
    """
    from dsacap.scoring.metrics.coco_metrics import score_cider

    inputs, config = Inputs(layout), layout.config
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    examples = inputs.examples("val")[: config.training_of(system).validation_images]
    references = {example.image_id: list(example.tokens) for example in examples}
    found = {}
    for name, decoding in inputs.decodings(system).items():
        captions = caption_images(
            captioner,
            store,
            inputs.vocabulary,
            list(references),
            decoding,
            samples=1,
            seed=0,
            batch_size=config.decoding.batch_size,
            description=f"validate {system} {name}",
        )
        firsts = {image_id: texts[0] for image_id, texts in captions.items()}
        found[name] = score_cider(references, firsts).per_image
    write_json(layout.validation(system, seed), found)
    return {name: fmean(of_images.values()) for name, of_images in found.items()}
