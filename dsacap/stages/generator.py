"""The stage `generator`: the caption-to-image generator is trained or loaded.

How well it judges captions is measured too.
"""

import math
import sys
from collections.abc import Sequence

import torch

from dsacap.common.files import replacing_folder
from dsacap.common.machine import device_of
from dsacap.config.dataset import Scenes
from dsacap.config.sections import Generator, GeneratorTraining
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import grid_of, load_configured_generator, load_scenes


def make_generator(layout: Layout) -> dict:
    """Train the caption prior or load the configured pipeline, and measure how well it judges.

    Returns:
        Facts for the manifest: of the training or of the pipeline, and `auc`, how often a right
        caption scores above a wrong one on validation images.

    Raises:
        UserError: The configuration has no generator, or it cannot be loaded.
    """
    from dsacap.vision.generators.generator_check import (
        Pair,
        held_out_auc,
        mistaken_captions,
        near_captions,
    )

    settings, inputs = layout.config.required_generator(), Inputs(layout.sight)
    facts = (
        _train_generator(layout, inputs, settings, settings.train)
        if settings.train
        else {"name": settings.name, "revision": settings.revision}
    )
    examples = inputs.examples("val")
    pairs: Sequence[Pair | None]
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


def _train_generator(
    layout: Layout, inputs: Inputs, settings: Generator, training: GeneratorTraining
) -> dict:
    from dsacap.training.train_caption_prior import train_caption_prior
    from dsacap.vision.generators.caption_prior import new_caption_prior
    from dsacap.vision.generators.generator import original_features

    examples = inputs.examples("train")
    captions = [[caption for caption in example.tokens if caption] for example in examples]
    ids = [example.image_id for example in examples]
    grid = grid_of(settings, inputs.store)
    embeddings_IE = torch.cat(
        [
            original_features(inputs.store, ids[at : at + 1000], grid).flatten(1)
            for at in range(0, len(ids), 1000)
        ]
    )
    if grid is None:  # scale unit vectors to the noise; tokens have its scale already
        embeddings_IE = embeddings_IE * math.sqrt(embeddings_IE.shape[1])
    torch.manual_seed(training.seed)
    prior = new_caption_prior(
        (c for of_image in captions for c in of_image),
        embeddings_IE.shape[1],
        width=training.width,
        layers=training.layers,
        max_words=layout.config.text.max_words,
    )
    facts = train_caption_prior(
        prior.to(device_of(layout.config.device)),
        training,
        embeddings_IE,
        captions,
        layout.generator / "checkpoint",
        fused=layout.config.arithmetic == "portable",
    )
    with replacing_folder(layout.generator / "pipeline") as temporary:
        prior.save_pretrained(temporary)
    return facts
