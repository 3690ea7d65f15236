"""This stage generates or loads captions and photos, checks them, and writes the prepared data set."""

from dsacap.common.files import sha256
from dsacap.config.dataset import Scenes
from dsacap.data.coco import CaptionedImage, RandomSplit, hash_of_ids, load_coco
from dsacap.data.prepared import prepare
from dsacap.data.scenes import generate as scenes
from dsacap.runs.layout import Layout
from dsacap.stages.download import verify_sources


def make_data(layout: Layout, with_photos: bool = True) -> dict:
    """Generates or loads the captions and photos, checks them, and writes the prepared data set.

    Captions alone are enough to score others by; then photos that are not generated need not be here.
    """
    images, counts = _load_images(layout, with_photos)
    facts = prepare(images, layout.data, layout.config.text.min_count)
    files = [
        layout.data / "captions.jsonl"
    ]  # what captioners are trained and scored on; the photos' hash is that of the features
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
    split = dataset.karpathy or RandomSplit(**dataset.random_split.model_dump())
    return load_coco(
        dataset.annotations,
        dataset.images,
        split,
        dataset.expected,
        dataset.expected_ids,
        with_photos,
    )
