"""The stage `encoder`: the image encoder is trained, or it is checked that it can be loaded."""

import dataclasses

import torch

from dsacap.common.errors import UserError
from dsacap.config.dataset import Scenes
from dsacap.data.prepared import load_examples
from dsacap.data.scenes import generate as scenes
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, load_scenes, photo_sources


def make_encoder(layout: Layout) -> dict:
    """Train the tiny CLIP on scenes, or load the configured encoder, so that errors show early.

    Returns:
        Facts for the manifest: the hashes of the weights, and the quality of a trained encoder on
        the validation split.

    Raises:
        UserError: The encoder cannot be loaded, or is to be trained on another data set than
            scenes.
    """
    from dsacap.vision.encoders.tiny_clip import train_tiny_clip
    from dsacap.vision.features.encode import pixels_of

    encoder = layout.config.encoder
    if encoder.train is None:
        return {
            "name": encoder.name,
            "pretrained": encoder.pretrained,
            "weights": load_configured_encoder(layout).identity(),
        }
    if not isinstance(layout.config.dataset, Scenes):
        raise UserError(
            "encoder.train: the tiny CLIP can be trained on scenes only; for other data sets, name"
            " an open_clip or timm model"
        )
    truth = load_scenes(layout)

    def part(split: str) -> tuple[torch.Tensor, list[tuple[str, ...]], list[scenes.Scene]]:
        images = [example.image for example in load_examples(layout.data, split)]
        pixels = pixels_of(images, photo_sources(layout, images))
        return (
            pixels,
            [image.captions for image in images],
            [truth[image.image_id] for image in images],
        )

    settings = encoder.train.model_dump() | {"fused": layout.config.arithmetic == "portable"}
    probe = train_tiny_clip(*part("train"), held_out=part("val"), folder=layout.encoder, **settings)
    held_out = {name: round(value, 4) for name, value in dataclasses.asdict(probe).items()}
    return {"held_out": held_out, "weights": load_configured_encoder(layout).identity()}
