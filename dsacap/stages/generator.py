"""This stage makes the generator, which turns captions back into pictures, and measures how well it judges captions."""

import math
import sys

import torch

from dsacap.common.errors import UserError
from dsacap.common.files import replacing_folder
from dsacap.common.machine import device_of
from dsacap.config.dataset import Scenes
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import grid_of, load_configured_generator, load_scenes


def make_generator(layout: Layout) -> dict:
    """Trains the caption prior, or loads the pipeline that the configuration names, and measures whether it can judge captions."""
    from dsacap.vision.generators.generator_check import (
        held_out_auc,
        mistaken_captions,
        near_captions,
    )

    settings, inputs = layout.config.generator, Inputs(layout.sight)
    if settings is None:
        raise UserError("generator: the configuration has no such section")
    facts = (
        _train_generator(layout, inputs)
        if settings.train
        else {"name": settings.name, "revision": settings.revision}
    )
    examples = inputs.examples("val")
    if isinstance(layout.config.dataset, Scenes):
        pairs = mistaken_captions(examples, load_scenes(layout))
    else:
        pairs = near_captions(examples, inputs.store, grid_of(settings, inputs.store))
    held_out = held_out_auc(
        load_configured_generator(layout, inputs.store), inputs.store, examples, pairs
    )
    print(
        "generator, AUC on validation images: "
        + ", ".join(f"{name} {value:.3f}" for name, value in held_out.items()),
        file=sys.stderr,
    )
    return facts | {"auc": held_out}


def _train_generator(layout: Layout, inputs: Inputs) -> dict:
    from dsacap.training.train_caption_prior import train_caption_prior
    from dsacap.vision.generators.caption_prior import new_caption_prior
    from dsacap.vision.generators.generator import original_features

    settings, examples = layout.config.generator, inputs.examples("train")
    captions = [[caption for caption in example.tokens if caption] for example in examples]
    ids = [example.image_id for example in examples]
    grid = grid_of(settings, inputs.store)
    embeddings_IE = torch.cat(
        [
            original_features(inputs.store, ids[at : at + 1000], grid).flatten(1)
            for at in range(0, len(ids), 1000)
        ]
    )
    if grid is None:
        embeddings_IE = embeddings_IE * math.sqrt(
            embeddings_IE.shape[1]
        )  # to the scale of noise, which tokens have already
    torch.manual_seed(settings.train.seed)
    size = {
        "width": settings.train.width,
        "layers": settings.train.layers,
        "max_words": layout.config.text.max_words,
    }
    prior = new_caption_prior(
        (c for of_image in captions for c in of_image), embeddings_IE.shape[1], **size
    )
    facts = train_caption_prior(
        prior.to(device_of(layout.config.device)),
        settings.train,
        embeddings_IE,
        captions,
        layout.generator / "checkpoint",
        fused=layout.config.arithmetic == "portable",
    )
    with replacing_folder(layout.generator / "pipeline") as temporary:
        prior.save_pretrained(temporary)
    return facts
