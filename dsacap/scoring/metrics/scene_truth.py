"""Whether captions of generated scenes are grammatical and true.

Both are exact, because the scene is known and a grammar parses its language.
"""

from collections.abc import Mapping

from dsacap.common.errors import UserError
from dsacap.data.scenes.grammar import Scene, is_true, parse
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images


def score_truth(
    captions: Mapping[int, str], scenes: Mapping[int, Scene]
) -> dict[str, MetricResult]:
    """Judge captions against what their images show.

    Args:
        captions: One tokenised caption by image id.
        scenes: The scene of each of these images, and perhaps of others.

    Returns:
        grammatical: 1 if the caption parses to its last word, otherwise 0.
        true: 1 if it also parses and everything that it states holds for the scene, otherwise 0.
        The corpus scores are means, 0..1.

    Raises:
        UserError: There are no captions, or a caption has no scene.
    """
    if not captions:
        raise UserError("no captions to judge; give one for each image")
    unknown = sorted(captions.keys() - scenes.keys())
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(captions)} captions are of images without a scene"
            f" (first: {unknown[0]}); score captions of generated scenes only"
        )
    descriptions = {image_id: parse(caption) for image_id, caption in captions.items()}
    return {
        "grammatical": mean_over_images({i: float(d is not None) for i, d in descriptions.items()}),
        "true": mean_over_images(
            {i: float(d is not None and is_true(d, scenes[i])) for i, d in descriptions.items()}
        ),
    }
