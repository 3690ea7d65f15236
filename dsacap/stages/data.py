"""The stage `data`: captions and photos are generated or loaded, checked and prepared."""

from pathlib import Path

from dsacap.common.files import sha256
from dsacap.config.dataset import Scenes
from dsacap.data.coco import CaptionedImage, RandomSplit, hash_of_ids, load_coco
from dsacap.data.prepared import prepare
from dsacap.data.scenes import generate as scenes
from dsacap.runs.layout import Layout
from dsacap.stages.download import verify_sources


def make_data(layout: Layout, with_photos: bool = True) -> dict:
    """Generate or load the captions and photos, check them, and write the prepared data set.

    Args:
        layout: The layout of the configuration.
        with_photos: Whether photos that are not generated have to exist, if they are read at all.
            Captions are enough to score other captions against.

    Returns:
        Facts for the manifest: counts, and hashes of the image ids and of the files.

    Raises:
        UserError: The captions or photos are malformed, or are not those that were expected.
    """
    images, counts = _load_images(layout, with_photos)
    facts = prepare(images, layout.data, layout.config.text.min_count)
    # Captioners are trained and scored on these; photos are covered by the hashes of the features.
    files = [layout.data / "captions.jsonl"]
    if isinstance(layout.config.dataset, Scenes):
        files += layout.photos.values()
    ids = {
        split: hash_of_ids(image.image_id for image in images if image.split == split)
        for split in scenes.SPLITS
    }
    return (
        counts | facts | {"ids_sha256": ids, "sha256": {path.name: sha256(path) for path in files}}
    )


def _load_images(layout: Layout, with_photos: bool) -> tuple[list[CaptionedImage], dict]:
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        sizes = {split: getattr(dataset, split) for split in scenes.SPLITS}
        scenes.generate(layout.data, sizes, dataset.seed)
        annotations = [
            layout.data / "annotations" / f"captions_{split}.json" for split in scenes.SPLITS
        ]
        return load_coco(annotations, layout.photos, layout.data / "dataset_scenes.json", sizes)
    if with_photos:
        verify_sources(layout)
    split: Path | RandomSplit
    if dataset.random_split is None:
        assert dataset.karpathy is not None  # the section has one of the two
        split = dataset.karpathy
    else:
        split = RandomSplit(**dataset.random_split.model_dump())
    return load_coco(
        dataset.annotations,
        dataset.images,
        split,
        dataset.expected,
        dataset.expected_ids,
        with_photos and layout.config.reads_photos,
    )
