"""Captions, photos, the encoder and its features."""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from dsacap.config import Scenes, Sight
from dsacap.data import scenes
from dsacap.data.coco import CaptionedImage, RandomSplit, hash_of_ids, load_coco
from dsacap.data.dataset import load_examples, prepare
from dsacap.data.photos import PhotoSource
from dsacap.errors import UserError
from dsacap.files import sha256
from dsacap.layout import Layout
from dsacap.stages.downloads import verify_sources


def make_data(layout: Layout, with_photos: bool = True) -> dict:
    """Generates or loads the captions and photos, checks them, and writes the prepared data set.

    Captions alone are enough to score others by; then photos that are not generated need not be here.
    """
    images, counts = _load_images(layout, with_photos)
    facts = prepare(images, layout.data, layout.config.text.min_count)
    files = [layout.data / "captions.jsonl"]  # what captioners are trained and scored on; the photos' hash is that of the features
    if isinstance(layout.config.dataset, Scenes):
        files += layout.photos.values()
    ids = {split: hash_of_ids(image.image_id for image in images if image.split == split) for split in scenes.SPLITS}
    return counts | facts | {"ids_sha256": ids, "sha256": {path.name: sha256(path) for path in files}}


def _load_images(layout: Layout, with_photos: bool) -> tuple[list[CaptionedImage], dict]:
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        sizes = {split: getattr(dataset, split) for split in scenes.SPLITS}
        scenes.generate(layout.data, sizes, dataset.seed)
        annotations = [layout.data / "annotations" / f"captions_{split}.json" for split in scenes.SPLITS]
        return load_coco(annotations, layout.photos, layout.data / "dataset_scenes.json", sizes)
    if with_photos:
        verify_sources(layout)
    split = dataset.karpathy or RandomSplit(**dataset.random_split.model_dump())
    return load_coco(dataset.annotations, dataset.images, split, dataset.expected, dataset.expected_ids, with_photos)


def photo_sources(layout: Layout, images: Sequence[CaptionedImage]) -> dict[str, PhotoSource]:
    return {name: PhotoSource(layout.photos[name]) for name in sorted({image.source for image in images})}


def make_encoder(layout: Layout) -> dict:
    """Trains the tiny CLIP on scenes; an encoder named in the configuration is only loaded, to fail here and not later."""
    from dsacap.vision.encoding import pixels_of
    from dsacap.vision.tiny_clip import train_tiny_clip

    encoder = layout.config.encoder
    if encoder.train is None:
        return {"name": encoder.name, "pretrained": encoder.pretrained, "weights": load_configured_encoder(layout).identity()}
    if not isinstance(layout.config.dataset, Scenes):
        raise UserError("encoder.train: the tiny CLIP learns from scenes only; name an open_clip or timm model for other data sets")
    truth = load_scenes(layout)

    def part(split: str) -> tuple[torch.Tensor, list[tuple[str, ...]], list[scenes.Scene]]:
        images = [example.image for example in load_examples(layout.data, split)]
        pixels = pixels_of(images, photo_sources(layout, images))
        return pixels, [image.captions for image in images], [truth[image.image_id] for image in images]

    settings = encoder.train.model_dump() | {"fused": layout.config.arithmetic == "portable"}
    probe = train_tiny_clip(*part("train"), held_out=part("val"), folder=layout.encoder, **settings)
    held_out = {name: round(value, 4) for name, value in dataclasses.asdict(probe).items()}
    return {"held_out": held_out, "weights": load_configured_encoder(layout).identity()}


def load_scenes(layout: Layout) -> dict[int, scenes.Scene]:
    return scenes.load_scenes(layout.data)


def load_configured_encoder(layout: Layout):
    from dsacap.vision.encoder import load_encoder, local_name
    from dsacap.vision.ensemble import EnsembleEncoder

    encoder = layout.config.encoder
    name = local_name(layout.encoder) if encoder.train else encoder.name
    first = load_encoder(name, encoder.pretrained, encoder.grid, encoder.sha256)
    beside = encoder.beside if isinstance(encoder, Sight) else ()
    return EnsembleEncoder([first, *(load_encoder(e.name, e.pretrained, None, e.sha256) for e in beside)]) if beside else first


def load_text_encoder(layout: Layout) -> Callable[[Sequence[str]], torch.Tensor]:
    """The text side of the configured encoder: captions to unit vectors [n, E]. UserError where it has none."""
    import open_clip

    from dsacap.vision.clipscore import PROMPT, encode_texts
    from dsacap.vision.encoder import ClipEncoder, local_name

    settings, encoder = layout.config.encoder, load_configured_encoder(layout)
    if not isinstance(encoder, ClipEncoder):
        raise UserError(f"rewards.clipscore: encoder {settings.name} reads no text; name an open_clip model, or leave the reward out")
    tokenizer = open_clip.get_tokenizer(local_name(layout.encoder) if settings.train else settings.name)
    prompt = "" if settings.train else PROMPT  # the tiny CLIP learnt from bare captions
    return lambda captions: encode_texts(encoder, tokenizer, captions, prompt=prompt)


def make_features(layout: Layout) -> dict:
    """Encodes every photo once."""
    from dsacap.captioning import device_of
    from dsacap.vision.encoding import encode_photos

    images = [example.image for example in load_examples(layout.data)]
    encoder = layout.config.encoder
    index = encode_photos(
        images,
        photo_sources(layout, images),
        load_configured_encoder(layout).to(device_of(layout.config.device)),
        layout.features,
        batch_size=encoder.batch_size,
        shard_size=encoder.shard_size,
        on_bad_image=encoder.on_bad_image,
        dtype=getattr(torch, encoder.dtype),
        views=encoder.views,
        workers=encoder.workers,
    )
    return {**index, "images": len(images) - len(index["skipped"])}


def make_pixels(layout: Layout) -> dict:
    """Decodes every photo once, to what the encoder looks at."""
    from dsacap.vision.pixels import store_pixels

    images = [example.image for example in load_examples(layout.data)]
    encoder = layout.config.encoder
    index = store_pixels(
        images,
        photo_sources(layout, images),
        load_configured_encoder(layout),
        layout.pixels,
        batch_size=encoder.batch_size,
        shard_size=encoder.shard_size,
        on_bad_image=encoder.on_bad_image,
        workers=encoder.workers,
    )
    return {**index, "images": len(images) - len(index["skipped"])}
