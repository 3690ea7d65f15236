"""The stages of the pipeline. Each reads files, writes files and returns the facts that go into its manifest."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from dsacap.captioner import Captioner, ImageSpec, captioner_class, load_captioner
from dsacap.captioning import caption_images, device_of
from dsacap.config import Remote, Scenes
from dsacap.data import scenes
from dsacap.data.coco import CaptionedImage, RandomSplit, load_coco
from dsacap.data.dataset import Example, load_examples, load_vocabulary, prepare
from dsacap.data.download import extract, fetch
from dsacap.data.photos import PhotoSource
from dsacap.errors import UserError
from dsacap.files import read_json, read_tensors, replacing_folder, sha256, write_json
from dsacap.layout import HUMAN, Layout, manifest_of


def make_data(layout: Layout) -> dict:
    """Generates or loads the captions and photos, checks them, and writes the prepared data set."""
    images, counts = _load_images(layout)
    facts = prepare(images, layout.data, layout.config.text.min_count)
    files = [layout.data / "captions.jsonl"]  # what captioners are trained and scored on; the photos' hash is that of the features
    if isinstance(layout.config.dataset, Scenes):
        files += photo_folders(layout).values()
    return counts | facts | {"sha256": {path.name: sha256(path) for path in files}}


def _load_images(layout: Layout) -> tuple[list[CaptionedImage], dict]:
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        sizes = {split: getattr(dataset, split) for split in scenes.SPLITS}
        scenes.generate(layout.data, sizes, dataset.seed)
        annotations = [layout.data / "annotations" / f"captions_{split}.json" for split in scenes.SPLITS]
        return load_coco(annotations, photo_folders(layout), layout.data / "dataset_scenes.json", sizes)
    split = dataset.karpathy or RandomSplit(**dataset.random_split.model_dump())
    return load_coco(dataset.annotations, dataset.images, split, dataset.expected)


def photo_folders(layout: Layout) -> dict[str, Path]:
    """Folder or archive of photos of each source."""
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        return {split: layout.data / "images" / f"{split}.zip" for split in scenes.SPLITS}
    return dataset.images


def _photo_sources(layout: Layout, images: Sequence[CaptionedImage]) -> dict[str, PhotoSource]:
    folders = photo_folders(layout)
    return {name: PhotoSource(folders[name]) for name in sorted({image.source for image in images})}


def download(layout: Layout, target: Path) -> None:
    """Fetches one file that the configuration names, checked by size and checksum; one that is there and right is kept."""
    remote = _remote(layout, target)
    fetch(remote.url, target, remote.size, md5=remote.md5, sha256=remote.sha256)


def unpack(layout: Layout, target: Path) -> None:
    """Unpacks a fetched archive into its own folder."""
    wanted = _remote(layout, target).unpack
    extract(target, target.parent)
    absent = [path for path in wanted if not path.exists()]
    if absent:
        raise UserError(f"{target}: holds no {absent[0].name}; is it the right archive?")


def _remote(layout: Layout, target: Path) -> Remote:
    downloads = {} if isinstance(layout.config.dataset, Scenes) else layout.config.dataset.downloads
    if target not in downloads:
        known = ", ".join(map(str, downloads)) or "none (scenes are generated)"
        raise UserError(f"{target}: not among the configuration's downloads; known: {known}")
    return downloads[target]


def make_encoder(layout: Layout) -> dict:
    """Trains the tiny CLIP on scenes; an encoder named in the configuration is only loaded, to fail here and not later."""
    from dsacap.vision.features import pixels_of
    from dsacap.vision.tiny_clip import train_tiny_clip

    encoder = layout.config.encoder
    if encoder.train is None:
        return {"name": encoder.name, "pretrained": encoder.pretrained, "weights": load_configured_encoder(layout).identity()}
    if not isinstance(layout.config.dataset, Scenes):
        raise UserError("encoder.train: the tiny CLIP learns from scenes only; name an open_clip or timm model for other data sets")
    truth = load_scenes(layout)

    def part(split: str) -> tuple[torch.Tensor, list[tuple[str, ...]], list[scenes.Scene]]:
        images = [example.image for example in load_examples(layout.data, split)]
        pixels = pixels_of(images, _photo_sources(layout, images))
        return pixels, [image.captions for image in images], [truth[image.image_id] for image in images]

    settings = encoder.train.model_dump()
    probe = train_tiny_clip(*part("train"), held_out=part("val"), folder=layout.encoder, **settings)
    held_out = {name: round(value, 4) for name, value in dataclasses.asdict(probe).items()}
    return {"held_out": held_out, "weights": load_configured_encoder(layout).identity()}


def load_scenes(layout: Layout) -> dict[int, scenes.Scene]:
    return {int(image_id): scenes.scene_from_json(scene) for image_id, scene in read_json(layout.data / "scenes.json").items()}


def load_configured_encoder(layout: Layout):
    from dsacap.vision.encoder import load_encoder, local_name

    encoder = layout.config.encoder
    name = local_name(layout.encoder) if encoder.train else encoder.name
    return load_encoder(name, encoder.pretrained, encoder.grid, encoder.sha256)


def make_features(layout: Layout) -> dict:
    """Encodes every photo once."""
    from dsacap.vision.features import encode_photos

    images = [example.image for example in load_examples(layout.data)]
    encoder = layout.config.encoder
    index = encode_photos(
        images,
        _photo_sources(layout, images),
        load_configured_encoder(layout),
        layout.features,
        batch_size=encoder.batch_size,
        shard_size=encoder.shard_size,
        on_bad_image=encoder.on_bad_image,
    )
    return {**index, "images": len(images) - len(index["skipped"])}


def make_generator(layout: Layout) -> dict:
    """Trains the caption prior, or loads the pipeline that the configuration names, and measures whether it can judge captions."""
    from dsacap.vision.generator_check import held_out_auc, mistaken_captions, near_captions

    settings, inputs = layout.config.generator, Inputs(layout)
    if settings is None:
        raise UserError("generator: the configuration has no such section")
    facts = _train_generator(layout, inputs) if settings.train else {"name": settings.name, "revision": settings.revision}
    examples = inputs.examples("val")
    if isinstance(layout.config.dataset, Scenes):
        pairs = mistaken_captions(examples, load_scenes(layout))
    else:
        pairs = near_captions(examples, inputs.store, settings.grid)
    held_out = held_out_auc(load_configured_generator(layout, inputs.store), inputs.store, examples, pairs)
    print("generator, AUC on validation images: " + ", ".join(f"{name} {value:.3f}" for name, value in held_out.items()), file=sys.stderr)
    return facts | {"auc": held_out}


def _train_generator(layout: Layout, inputs: "Inputs") -> dict:
    from dsacap.training.caption_prior import train_caption_prior
    from dsacap.vision.caption_prior import new_caption_prior
    from dsacap.vision.generator import coarse

    settings, examples = layout.config.generator, inputs.examples("train")
    captions = [[caption for caption in example.tokens if caption] for example in examples]
    ids = [example.image_id for example in examples]
    parts = [coarse(inputs.store.read(ids[at : at + 1000]), settings.grid).flatten(1) for at in range(0, len(ids), 1000)]
    embeddings_IE = torch.cat(parts)
    torch.manual_seed(settings.train.seed)
    size = {"width": settings.train.width, "layers": settings.train.layers, "max_words": layout.config.text.max_words}
    prior = new_caption_prior((c for of_image in captions for c in of_image), embeddings_IE.shape[1], **size)
    facts = train_caption_prior(
        prior.to(device_of(layout.config.device)), settings.train, embeddings_IE, captions, layout.generator / "checkpoint"
    )
    with replacing_folder(layout.generator / "pipeline") as temporary:
        prior.save_pretrained(temporary)
    return facts


def load_configured_generator(layout: Layout, store):
    from dsacap.vision.generator import FeatureGenerator, PixelGenerator, load_caption_prior, load_pixel_pipeline

    settings, device = layout.config.generator, device_of(layout.config.device)
    if settings.train:
        return FeatureGenerator(load_caption_prior(layout.generator / "pipeline", device), settings.grid)
    pipeline = load_pixel_pipeline(settings.name, settings.revision, device)
    how = {"steps": settings.steps, "size": settings.size, "batch_size": settings.batch_size}
    return PixelGenerator(pipeline, load_configured_encoder(layout), store, settings.grid, **how)


class Inputs:
    """What training, decoding and timing read: features, vocabulary and the images of a split that have features."""

    def __init__(self, layout: Layout):
        from dsacap.vision.features import FeatureStore

        self.layout = layout
        self.store = FeatureStore(layout.features)
        self.vocabulary = load_vocabulary(layout.data)
        self.spec = ImageSpec(self.store.tokens, self.store.channels, len(self.vocabulary), layout.config.text.max_words)

    def examples(self, split: str) -> list[Example]:
        return [example for example in load_examples(self.layout.data, split) if example.image_id in self.store]

    def captioner(self, system: str, seed: int | None = None) -> Captioner:
        """The system with fresh weights, or with its trained ones where a seed names the run."""
        settings = self.layout.config.trained(system)
        captioner = load_captioner(settings.captioner, settings.model, self.spec)
        if seed is not None:
            captioner.load_state_dict(read_tensors(self.layout.system(system, seed) / "model.safetensors")[0])
        captioner.learn_from(self._train_captions())
        return captioner.to(device_of(self.layout.config.device)).eval()

    def _train_captions(self) -> Iterator[list[int]]:
        for example in self.examples("train"):
            yield from (self.vocabulary.encode(caption, self.spec.max_words) for caption in example.tokens if caption)

    def decodings(self, system: str) -> dict:
        """The system's decodings by name; the first one also selects the weights on validation."""
        decoding = captioner_class(self.layout.config.trained(system).captioner).Decoding
        return {name: decoding(**options) for name, options in self.layout.config.systems[system].decodings.items()}


def train_system(layout: Layout, system: str, seed: int) -> dict:
    if base := layout.config.systems[system].tuned_from:
        raise UserError(f"{system} is tuned from {base}, not trained; use the verb tune")
    inputs = Inputs(layout)
    torch.manual_seed(seed)
    return _fit(inputs, inputs.captioner(system), system, seed, "train")


def tune_system(layout: Layout, system: str, seed: int) -> dict:
    """Tunes a trained system. What its manifest counts is of training and tuning together."""
    base = layout.config.systems[system].tuned_from
    if base is None:
        raise UserError(f"{system} is trained, not tuned; use the verb train, or give it tuned_from and tuning")
    inputs = Inputs(layout)
    captioner = inputs.captioner(base, seed)
    objective = _tuning_objective(inputs, captioner, system, seed)
    facts = _fit(inputs, captioner, system, seed, "tune", objective=objective, keep="last")
    before = read_json(manifest_of(layout.system(base, seed)))["facts"]
    return {
        **facts,
        "images_seen": before["images_seen"] + facts["images_seen"],
        "train_cpu_seconds": round(before["train_cpu_seconds"] + facts["train_cpu_seconds"], 1),
        "tune_cpu_seconds": facts["train_cpu_seconds"],
    }


def _tuning_objective(inputs: Inputs, captioner: Captioner, system: str, seed: int):
    from dsacap.training.ngram_objective import NgramObjective
    from dsacap.training.reinforce import Reinforce
    from dsacap.training.rewards import Reconstruction, RewardSum

    settings, base = inputs.layout.config.training_of(system), inputs.layout.config.systems[system].tuned_from
    if settings.ngrams:
        return NgramObjective(captioner, settings)
    reconstruction = None
    if settings.reconstructs:
        reconstruction = Reconstruction(load_configured_generator(inputs.layout, inputs.store), inputs.store)
    reward = RewardSum(settings.rewards, inputs.examples("train"), reconstruction)
    return Reinforce(captioner, inputs.captioner(base, seed), settings, reward, inputs.vocabulary)


def _fit(inputs: Inputs, captioner: Captioner, system: str, seed: int, verb: str, **how) -> dict:
    """The training loop on a row's settings, data and folder; `how` is passed on."""
    from dsacap.training.loop import train

    return train(
        captioner,
        inputs.layout.config.training_of(system),
        seed,
        inputs.examples("train"),
        inputs.examples("val"),
        inputs.store,
        inputs.vocabulary,
        next(iter(inputs.decodings(system).values())),
        inputs.layout.system(system, seed),
        f"{verb} {system}",
        **how,
    )


def caption_split(layout: Layout, system: str, seed: int, split: str = "test") -> dict:
    """Captions of every image of a split by every decoding of a system."""
    inputs, settings = Inputs(layout), layout.config.decoding
    captioner = inputs.captioner(system, seed)
    image_ids = [example.image_id for example in inputs.examples(split)]
    captions = {
        name: caption_images(
            captioner,
            inputs.store,
            inputs.vocabulary,
            image_ids,
            decoding,
            samples=settings.samples,
            seed=settings.seed,
            batch_size=settings.batch_size,
            description=f"caption by {system} {name}",
        )
        for name, decoding in inputs.decodings(system).items()
    }
    write_json(layout.captions(system, seed), captions)
    return {"split": split, "images": len(image_ids), "decodings": list(captions)}


def score_system(layout: Layout, system: str, seed: int) -> dict:
    """Scores a system's captions of the test split, or the human captions against each other."""
    from dsacap.scoring.score import score_decodings, score_humans
    from dsacap.scoring.signature import scored_against

    train = {caption for example in load_examples(layout.data, "train") for caption in example.tokens}
    truth = load_scenes(layout) if isinstance(layout.config.dataset, Scenes) else None
    spice = layout.config.scoring.spice
    if system == HUMAN:
        references = _test_references(layout)
        scores = score_humans(references, train, truth, spice)
    else:
        references, captions = _captioned(layout, system, seed)
        scores = score_decodings(references, captions, train, truth, scored_against(references, split="test"), spice=spice)
    write_json(layout.scores(system, seed), scores)
    return {"images": len(references)}


def score_system_samples(layout: Layout, system: str, seed: int) -> dict:
    """AllSPICE, and the best of k by SPICE, of a system's decodings that draw several captions an image."""
    from dsacap.scoring.score import score_samples, tokenise
    from dsacap.scoring.signature import scored_against

    references, captions = _captioned(layout, system, seed)
    drawn = {name: by_image for name, by_image in captions.items() if len(next(iter(by_image.values()))) > 1}
    scored = scored_against(references, split="test")
    scores = {name: score_samples(references, tokenise(by_image), scored) for name, by_image in drawn.items()}
    write_json(layout.sample_scores(system, seed), scores)
    return {"decodings": list(scores)}


def _test_references(layout: Layout) -> dict[int, list[str]]:
    return {e.image_id: [c for c in e.tokens if c] for e in load_examples(layout.data, "test")}


def _captioned(layout: Layout, system: str, seed: int) -> tuple[dict[int, list[str]], dict[str, dict[int, list[str]]]]:
    """The tokenised references of the captioned images, and decoding -> image id -> captions."""
    captions = {
        name: {int(image_id): said for image_id, said in by_image.items()}
        for name, by_image in read_json(layout.captions(system, seed)).items()
    }
    references = _test_references(layout)
    return {i: references[i] for i in next(iter(captions.values()))}, captions  # photos skipped as bad have no captions


def time_systems(layout: Layout) -> dict:
    """Latency of every system and of the encoder, all in one process and in turn, so that they share one machine's mood."""
    from dsacap.timing.latency import time_decodings

    timed = time_decodings(layout, Inputs(layout), load_configured_encoder(layout))
    write_json(layout.latency, timed)
    return {name: timed[name] for name in ("device", "threads", "warmup")}
