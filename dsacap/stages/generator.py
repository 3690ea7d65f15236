"""What turns captions back into pictures."""

import math
import sys
from statistics import fmean

import torch

from dsacap.captioning import device_of
from dsacap.config import Generator, Scenes
from dsacap.data.dataset import load_references
from dsacap.errors import UserError
from dsacap.files import replacing_folder, write_json
from dsacap.layout import HUMAN, Layout
from dsacap.stages.data import load_configured_encoder, load_scenes
from dsacap.stages.scores import tokenised_captions
from dsacap.stages.systems import Inputs


def make_generator(layout: Layout) -> dict:
    """Trains the caption prior, or loads the pipeline that the configuration names, and measures whether it can judge captions."""
    from dsacap.vision.generator_check import held_out_auc, mistaken_captions, near_captions

    settings, inputs = layout.config.generator, Inputs(layout.sight)
    if settings is None:
        raise UserError("generator: the configuration has no such section")
    facts = _train_generator(layout, inputs) if settings.train else {"name": settings.name, "revision": settings.revision}
    examples = inputs.examples("val")
    if isinstance(layout.config.dataset, Scenes):
        pairs = mistaken_captions(examples, load_scenes(layout))
    else:
        pairs = near_captions(examples, inputs.store, _grid(settings, inputs.store))
    held_out = held_out_auc(load_configured_generator(layout, inputs.store), inputs.store, examples, pairs)
    print("generator, AUC on validation images: " + ", ".join(f"{name} {value:.3f}" for name, value in held_out.items()), file=sys.stderr)
    return facts | {"auc": held_out}


def reconstruct_captions(layout: Layout, system: str, seed: int) -> dict:
    """How well the originals come back from a system's first captions, or from the first references: by the generator that may have
    rewarded it, and by the judge, which never did."""
    captions = {"references": load_references(layout.data)} if system == HUMAN else tokenised_captions(layout, system, seed)
    found: dict[str, dict] = {name: {} for name in captions}
    for metric, part in (("reconstruction", layout), ("judged_reconstruction", layout.judge)):
        reconstruction = load_reconstruction(part)
        for name, by_image in captions.items():
            cosine_B1 = reconstruction.score(list(by_image), [said[:1] for said in by_image.values()])
            found[name][metric] = {str(i): cosine for i, cosine in zip(by_image, cosine_B1[:, 0].tolist(), strict=True)}
    write_json(layout.reconstructions(system, seed), found)
    return {name: {metric: round(fmean(of.values()), 4) for metric, of in parts.items()} for name, parts in found.items()}


def _train_generator(layout: Layout, inputs: Inputs) -> dict:
    from dsacap.training.caption_prior import train_caption_prior
    from dsacap.vision.caption_prior import new_caption_prior
    from dsacap.vision.generator import seen

    settings, examples = layout.config.generator, inputs.examples("train")
    captions = [[caption for caption in example.tokens if caption] for example in examples]
    ids = [example.image_id for example in examples]
    grid = _grid(settings, inputs.store)
    embeddings_IE = torch.cat([seen(inputs.store, ids[at : at + 1000], grid).flatten(1) for at in range(0, len(ids), 1000)])
    if grid is None:
        embeddings_IE = embeddings_IE * math.sqrt(embeddings_IE.shape[1])  # to the scale of noise, which tokens have already
    torch.manual_seed(settings.train.seed)
    size = {"width": settings.train.width, "layers": settings.train.layers, "max_words": layout.config.text.max_words}
    prior = new_caption_prior((c for of_image in captions for c in of_image), embeddings_IE.shape[1], **size)
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


def load_reconstruction(layout: Layout):
    """The generator, and beside it the originals as it sees them."""
    from dsacap.training.rewards import Reconstruction
    from dsacap.vision.features import FeatureStore

    store = FeatureStore(layout.sight.features)
    return Reconstruction(load_configured_generator(layout, store), store)


def load_configured_generator(layout: Layout, store):
    """The generator of the configuration; `store` holds the originals as it sees them."""
    from dsacap.vision.generator import FeatureGenerator, PixelGenerator, load_caption_prior, load_pixel_pipeline

    settings, device = layout.config.generator, device_of(layout.config.device)
    grid = _grid(settings, store)
    if settings.train:
        return FeatureGenerator(load_caption_prior(layout.generator / "pipeline", device), grid)
    pipeline = load_pixel_pipeline(settings.name, settings.revision, device)
    how = {"steps": settings.steps, "size": settings.size, "batch_size": settings.batch_size}
    return PixelGenerator(pipeline, load_configured_encoder(layout.sight), store, grid, **how)


def _grid(settings: Generator, store) -> int | None:
    """The cells a side in which tokens are compared; an encoder may have fewer tokens. None where pooled vectors are."""
    return None if settings.compare == "pooled" else min(settings.grid, math.isqrt(store.tokens))
