"""The stage `score-degraded`: captions of degraded test photos, and their scores."""

from dsacap.common.files import write_json
from dsacap.config.dataset import Scenes
from dsacap.data.prepared import load_references
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_scenes
from dsacap.stages.caption import captions_of_split
from dsacap.vision.features.store import FeatureStore


def score_degraded(layout: Layout, system: str, seed: int) -> dict:
    """Caption and score the test photos as they are and degraded, by the system's first decoding.

    Writes, for each degradation and strength (`none 0` for the photos as they are), the captions
    and the scores of each image by CIDEr and, for generated pictures, truth.

    Returns:
        Facts for the manifest: the decoding, and the number of images.
    """
    from dsacap.scoring.metrics.coco_metrics import score_cider
    from dsacap.scoring.metrics.scene_truth import score_truth
    from dsacap.scoring.score import tokenise

    inputs = Inputs(layout)
    captioner = inputs.captioner(system, seed)
    name, decoding = next(iter(inputs.decodings(system).items()))
    stores = {("none", 0.0): inputs.store} | {
        (kind, strength): FeatureStore(layout.degraded_as(kind, strength))
        for kind, strength in layout.config.robustness.degradations
    }
    references = load_references(layout.data)
    truth = load_scenes(layout) if isinstance(layout.config.dataset, Scenes) else None
    found = []
    for (kind, strength), store in stores.items():
        what = f"caption by {system}, {kind} {strength:g}"
        captions = captions_of_split(inputs, store, captioner, "test", decoding, what)
        first = {image_id: texts[:1] for image_id, texts in captions.items()}
        tokens = {image_id: texts[0] for image_id, texts in tokenise(first).items()}
        results = {"CIDEr": score_cider({i: references[i] for i in tokens}, tokens)}
        if truth:
            results["true"] = score_truth(tokens, truth)["true"]
        scores = {metric: result.per_image for metric, result in results.items()}
        found.append({"kind": kind, "strength": strength, "captions": first, "scores": scores})
    write_json(layout.robustness(system, seed), {"decoding": name, "degraded": found})
    return {"decoding": name, "images": len(first)}
