"""The encoders, generators, photos and scenes of a configuration."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from dsacap.common.errors import UserError
from dsacap.common.machine import device_of
from dsacap.config.encoder import Sight
from dsacap.config.sections import Generator
from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import PhotoSource
from dsacap.data.prepared import load_examples
from dsacap.data.scenes import generate as scenes
from dsacap.runs.layout import Layout

if TYPE_CHECKING:
    from dsacap.vision.encoders.base import Encoder
    from dsacap.vision.features.shards import PhotoSet
    from dsacap.vision.features.store import FeatureStore
    from dsacap.vision.generators import generator as generators
    from dsacap.vision.generators.judges import Reconstruction


def photo_sources(layout: Layout, images: Sequence[CaptionedImage]) -> dict[str, PhotoSource]:
    """Return the sources of these images by name."""
    return {
        name: PhotoSource(layout.photos[name])
        for name in sorted({image.source for image in images})
    }


def photo_set(layout: Layout, split: str | None = None) -> "PhotoSet":
    """Return the photos of a split, or of all, with the encoder's options of decoding.

    Where features are given, the photos need not be there, and have no sources.
    """
    from dsacap.vision.features.shards import PhotoSet

    images = [example.image for example in load_examples(layout.data, split)]
    encoder = layout.config.encoder
    return PhotoSet(
        images,
        {} if encoder.features else photo_sources(layout, images),
        encoder.batch_size,
        encoder.shard_size,
        encoder.on_bad_image,
        encoder.workers,
    )


def load_scenes(layout: Layout) -> dict[int, scenes.Scene]:
    """Return the scene of each generated picture by image id."""
    return scenes.load_scenes(layout.data)


def load_configured_encoder(layout: Layout) -> "Encoder":
    """Load the image encoder of a configuration, or several as one.

    Raises:
        UserError: The encoder cannot be loaded, or its weights are not the expected ones.
    """
    from dsacap.vision.encoders.clip_encoder import local_name
    from dsacap.vision.encoders.ensemble import EnsembleEncoder
    from dsacap.vision.encoders.load import load_encoder

    encoder = layout.config.encoder
    if encoder.features:
        raise UserError(
            f"encoder.features: there is no encoder of photos here, since features came from"
            f" {encoder.features}; name the encoder that made them (encoder.name)"
        )
    first: Encoder
    if encoder.autoencoder:
        from dsacap.vision.encoders.latent_encoder import load_latent_encoder

        first = load_latent_encoder(encoder.autoencoder, layout.encoder, encoder.grid)
    else:
        name = local_name(layout.encoder) if encoder.name is None else encoder.name
        first = load_encoder(name, encoder.pretrained, encoder.grid, encoder.sha256)
    others = encoder.beside if isinstance(encoder, Sight) else ()
    return (
        EnsembleEncoder(
            [first, *(load_encoder(e.name, e.pretrained, None, e.sha256) for e in others)]
        )
        if others
        else first
    )


def load_text_encoder(layout: Layout) -> Callable[[Sequence[str]], torch.Tensor]:
    """Load the text side of the configured encoder.

    Returns:
        A function from n captions to unit vectors `(n, E)`.

    Raises:
        UserError: The encoder has no text side.
    """
    import open_clip

    from dsacap.vision.clipscore import PROMPT, encode_texts
    from dsacap.vision.encoders.clip_encoder import ClipEncoder, local_name

    settings, encoder = layout.config.encoder, load_configured_encoder(layout)
    if not isinstance(encoder, ClipEncoder):
        raise UserError(
            f"rewards.clipscore: encoder {settings.name or 'autoencoder'} reads no text; name an"
            " open_clip model, or leave the reward out"
        )
    tokenizer = open_clip.get_tokenizer(
        local_name(layout.encoder) if settings.train else settings.name
    )
    encoder.to(device_of(layout.config.device))
    prompt = "" if settings.train else PROMPT  # the tiny CLIP was trained on bare captions
    return lambda captions: encode_texts(encoder, tokenizer, captions, prompt=prompt)


def load_reconstruction(layout: Layout) -> "Reconstruction":
    """Load the judge that compares reconstructions with the originals.

    It consists of the configured generator and of the originals' features in the space in which
    the generator's pictures are compared.
    """
    from dsacap.vision.features.store import FeatureStore
    from dsacap.vision.generators.judges import Reconstruction

    store = FeatureStore(layout.sight.features)
    return Reconstruction(load_configured_generator(layout, store), store)


def load_configured_generator(layout: Layout, store: "FeatureStore") -> "generators.Generator":
    """Load the generator of a configuration.

    Args:
        layout: The layout of the configuration.
        store: Features of the originals by the encoder in whose space pictures are compared.

    Raises:
        UserError: The configuration has no generator, or it cannot be loaded.
    """
    from dsacap.vision.generators.generator import (
        FeatureGenerator,
        PixelGenerator,
        load_caption_prior,
        load_pixel_pipeline,
    )

    settings, device = layout.config.required_generator(), device_of(layout.config.device)
    grid = grid_of(settings, store)
    if settings.name is None:
        return FeatureGenerator(load_caption_prior(layout.generator / "pipeline", device), grid)
    pipeline = load_pixel_pipeline(settings.name, settings.revision, device)
    return PixelGenerator(
        pipeline,
        load_configured_encoder(layout.sight),
        store,
        grid,
        steps=settings.steps,
        size=settings.size,
        batch_size=settings.batch_size,
    )


def grid_of(settings: Generator, store: "FeatureStore") -> int | None:
    """Return the cells per side of the grid in which tokens of pictures are compared.

    The grid is no finer than the encoder's tokens. None if pooled vectors are compared instead.
    """
    return None if settings.compare == "pooled" else min(settings.grid, math.isqrt(store.tokens))
