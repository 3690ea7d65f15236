"""This module loads the encoders and generators that a configuration names."""

import math
from collections.abc import Callable, Sequence

import torch

from dsacap.common.errors import UserError
from dsacap.common.machine import device_of
from dsacap.config.sections import Generator, Sight
from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import PhotoSource
from dsacap.data.scenes import generate as scenes
from dsacap.runs.layout import Layout


def photo_sources(layout: Layout, images: Sequence[CaptionedImage]) -> dict[str, PhotoSource]:
    return {
        name: PhotoSource(layout.photos[name])
        for name in sorted({image.source for image in images})
    }


def load_scenes(layout: Layout) -> dict[int, scenes.Scene]:
    return scenes.load_scenes(layout.data)


def load_configured_encoder(layout: Layout):
    from dsacap.vision.encoders.clip_encoder import local_name
    from dsacap.vision.encoders.ensemble import EnsembleEncoder
    from dsacap.vision.encoders.load import load_encoder

    encoder = layout.config.encoder
    name = local_name(layout.encoder) if encoder.train else encoder.name
    first = load_encoder(name, encoder.pretrained, encoder.grid, encoder.sha256)
    beside = encoder.beside if isinstance(encoder, Sight) else ()
    return (
        EnsembleEncoder(
            [first, *(load_encoder(e.name, e.pretrained, None, e.sha256) for e in beside)]
        )
        if beside
        else first
    )


def load_text_encoder(layout: Layout) -> Callable[[Sequence[str]], torch.Tensor]:
    """The text side of the configured encoder: captions to unit vectors [n, E]. UserError where it has none."""
    import open_clip

    from dsacap.vision.clipscore import PROMPT, encode_texts
    from dsacap.vision.encoders.clip_encoder import ClipEncoder, local_name

    settings, encoder = layout.config.encoder, load_configured_encoder(layout)
    if not isinstance(encoder, ClipEncoder):
        raise UserError(
            f"rewards.clipscore: encoder {settings.name} reads no text; name an open_clip model, or leave the reward out"
        )
    tokenizer = open_clip.get_tokenizer(
        local_name(layout.encoder) if settings.train else settings.name
    )
    prompt = "" if settings.train else PROMPT  # the tiny CLIP learnt from bare captions
    return lambda captions: encode_texts(encoder, tokenizer, captions, prompt=prompt)


def load_reconstruction(layout: Layout):
    """The generator, and beside it the originals as it sees them."""
    from dsacap.vision.features.store import FeatureStore
    from dsacap.vision.generators.judges import Reconstruction

    store = FeatureStore(layout.sight.features)
    return Reconstruction(load_configured_generator(layout, store), store)


def load_configured_generator(layout: Layout, store):
    """The generator of the configuration; `store` holds the originals as it sees them."""
    from dsacap.vision.generators.generator import (
        FeatureGenerator,
        PixelGenerator,
        load_caption_prior,
        load_pixel_pipeline,
    )

    settings, device = layout.config.generator, device_of(layout.config.device)
    grid = grid_of(settings, store)
    if settings.train:
        return FeatureGenerator(load_caption_prior(layout.generator / "pipeline", device), grid)
    pipeline = load_pixel_pipeline(settings.name, settings.revision, device)
    how = {"steps": settings.steps, "size": settings.size, "batch_size": settings.batch_size}
    return PixelGenerator(pipeline, load_configured_encoder(layout.sight), store, grid, **how)


def grid_of(settings: Generator, store) -> int | None:
    """The cells a side in which tokens are compared; an encoder may have fewer tokens. None where pooled vectors are."""
    return None if settings.compare == "pooled" else min(settings.grid, math.isqrt(store.tokens))
