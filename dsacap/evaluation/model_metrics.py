"""Metrics by a pretrained model: CLIPScore, which looks at the photos, and BERTScore.

Weights are not downloaded. Where they or a library are not on this machine, the score is None, with
the reason.
"""

from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.extras import MissingExtra, naming_extras
from dsacap.common.printable import counted
from dsacap.data.caption_files.ids import shown
from dsacap.data.photos import PhotoSource
from dsacap.data.photos_of_images import photos_of_images
from dsacap.evaluation.inputs import Inputs
from dsacap.scoring.metrics.bertscore import NoBertScore, bert_score, find_model
from dsacap.scoring.score import missing_score, plain_scores
from dsacap.scoring.signature import Scored, hash_of_references


def bert_scores(inputs: Inputs, scored: Scored, model: str) -> dict[str, dict[str, Any]]:
    """Return BERTScore of the first caption of each image, as plain data.

    Args:
        inputs: The captions and their references.
        scored: The description of the references in signatures.
        model: See `dsacap.scoring.metrics.bertscore.find_model`.

    Raises:
        UserError: The model does not fit.
    """
    try:
        found = find_model(model)
    except NoBertScore as error:
        return missing_score("BERTScore", str(error), scored)
    score = bert_score(found, inputs.references, _firsts(inputs))
    return plain_scores({"BERTScore": score}, scored, **found.fields())


def clip_scores(
    inputs: Inputs, scored: Scored, photos: PhotoSource, encoder: str, pretrained: str
) -> dict[str, dict[str, Any]]:
    """Return CLIPScore, and RefCLIPScore if there are references, as plain data.

    Args:
        inputs: The captions, of which the first one of each image is scored.
        scored: The description of the references in signatures.
        photos: The photos.
        encoder: The name of an encoder of open_clip.
        pretrained: Its pretrained tag, or a file of weights.

    Raises:
        UserError: An image has no photo, a photo cannot be read, or there is no such encoder.
    """
    weights = None if encoder.startswith("local-dir:") else pretrained
    try:
        with naming_extras():
            import open_clip

            from dsacap.vision.clipscore import clip_score
            from dsacap.vision.encoders.load import lacks_weights, load_encoder
    except MissingExtra as error:
        return missing_score("CLIPScore", f"CLIPScore: not computed: {error}", scored)
    if reason := lacks_weights(encoder, weights):
        return missing_score("CLIPScore", f"CLIPScore: not computed: {reason}", scored)
    files = photos_of_images(photos, inputs.images, inputs.file_names)
    if absent := [image for i, image in inputs.images.items() if i not in files]:
        raise UserError(
            f"{photos.path}: has no photo of {counted(len(absent), 'image')}, such as"
            f" {shown(absent[0])}; photos are found by the references' file_name or by the ids"
        )
    scores = clip_score(
        load_encoder(encoder, weights),
        open_clip.get_tokenizer(encoder),
        photos,
        files,
        inputs.references,
        _firsts(inputs),
    )
    ids = {i: [str(image)] for i, image in inputs.images.items()}
    which = {} if inputs.references else {"ids": hash_of_references(ids)}  # identifies the images
    name = f"{encoder}/{weights}" if weights else encoder
    return plain_scores(scores, scored, encoder=name, **which)


def without_references(inputs: Inputs) -> Scored:
    """Return what signatures say of the references where there are none."""
    return Scored("none", "none", len(inputs.images), None)


def _firsts(inputs: Inputs) -> dict[int, str]:
    return {i: captions[0] for i, captions in inputs.captions.items()}
