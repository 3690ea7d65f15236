"""The stage `encoder`: the image encoder is trained, or it is checked that it can be loaded.

Where the user has features, nothing is done.
"""

import dataclasses
from typing import TYPE_CHECKING

import torch

from dsacap.common.errors import UserError
from dsacap.common.files import write_tensors
from dsacap.common.progress import progress
from dsacap.config.dataset import Scenes
from dsacap.config.encoder import AutoencoderTraining, EncoderTraining
from dsacap.data.prepared import load_examples
from dsacap.data.scenes import generate as scenes
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, load_scenes, photo_set, photo_sources

if TYPE_CHECKING:
    from dsacap.vision.encoders.base import Encoder


def make_encoder(layout: Layout) -> dict:
    """Train the configured encoder, or load it by its name, so that errors show early.

    Returns:
        Facts for the manifest: the hashes of the weights, and the quality of a trained encoder on
        the validation split.

    Raises:
        UserError: The encoder cannot be loaded; or a tiny CLIP is to be trained on another data set
            than scenes.
    """
    encoder = layout.config.encoder
    if encoder.features:
        return {"features": str(encoder.features)}
    if encoder.train:
        facts = _train_tiny_clip(layout, encoder.train)
    elif encoder.autoencoder:
        facts = _train_autoencoder(layout, encoder.autoencoder)
    else:
        facts = {"name": encoder.name, "pretrained": encoder.pretrained}
    return facts | {"weights": load_configured_encoder(layout).identity()}


def _train_tiny_clip(layout: Layout, training: EncoderTraining) -> dict:
    from dsacap.vision.encoders.tiny_clip import train_tiny_clip
    from dsacap.vision.features.encode import pixels_of

    if not isinstance(layout.config.dataset, Scenes):
        raise UserError(
            "encoder.train: the tiny CLIP can be trained on scenes only; for other data sets, name"
            " an open_clip or timm model, or train an autoencoder"
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

    settings = training.model_dump() | {"fused": layout.config.arithmetic == "portable"}
    probe = train_tiny_clip(*part("train"), held_out=part("val"), folder=layout.encoder, **settings)
    held_out = {name: round(value, 4) for name, value in dataclasses.asdict(probe).items()}
    return {"held_out": held_out}


def _train_autoencoder(layout: Layout, training: AutoencoderTraining) -> dict:
    from dsacap.training.train_autoencoder import reconstruction_error, train_autoencoder
    from dsacap.vision.encoders.latent_encoder import WEIGHTS, new_autoencoder, new_latent_encoder

    encoder = new_latent_encoder(training)  # its weights are not used, but its preprocessing is
    torch.manual_seed(training.seed)
    autoencoder = new_autoencoder(training.width, training.channels)
    facts = train_autoencoder(
        autoencoder,
        training,
        _bytes_of(layout, "train", encoder),
        layout.encoder / "checkpoint",
        fused=layout.config.arithmetic == "portable",
    )
    held_out = reconstruction_error(autoencoder, _bytes_of(layout, "val", encoder))
    write_tensors(layout.encoder / WEIGHTS, autoencoder.encoder.state_dict())
    return facts | {"held_out": held_out}


def _bytes_of(layout: Layout, split: str, encoder: "Encoder") -> torch.Tensor:
    """Return a split's photos as uint8 (photos, 3, height, width), but for those to be skipped."""
    from dsacap.vision.features.shards import PhotoReader

    photos = photo_set(layout)
    images = [image for image in photos.images if image.split == split]
    reader = PhotoReader(photos, encoder.to_bytes, encoder.image_size)
    with progress(None, "decode photos", "photo", total=len(images)) as bar:
        batches = reader.batches(images, layout.encoder, {}, bar)
        return torch.cat([pixels_B13HW[:, 0] for _, pixels_B13HW in batches])
