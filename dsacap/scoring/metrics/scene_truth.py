"""Whether captions of generated scenes are grammatical and true: exact, since the scene is known and its language parsed."""

from dsacap.common.errors import UserError
from dsacap.data.scenes.grammar import Scene, is_true, parse
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images


def score_truth(captions: dict[int, str], scenes: dict[int, Scene]) -> dict[str, MetricResult]:
    """Judges one tokenised caption an image, by image id, against what the image shows; `scenes` may hold more images.

    grammatical: 1 where the caption parses to its last word. true: 1 where it parses and all that it says holds of the scene.
    Otherwise 0; the corpus scores are shares in 0..1. Raises UserError where there is no caption, or a caption has no scene.
    """
    if not captions:
        raise UserError("no captions to judge")
    unknown = sorted(captions.keys() - scenes.keys())
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(captions)} captions are of images without a scene, the first is image {unknown[0]}"
        )
    descriptions = {image_id: parse(caption) for image_id, caption in captions.items()}
    return {
        "grammatical": mean_over_images({i: float(d is not None) for i, d in descriptions.items()}),
        "true": mean_over_images(
            {i: float(d is not None and is_true(d, scenes[i])) for i, d in descriptions.items()}
        ),
    }
