"""Archives like those of COCO 2014, with generated photos of real size and the real captions.

The archives have the published names and layout. Photos repeat a few hundred generated ones, so
that making them does not take hours; each is stored as a file of its own, as in the original. The
captions are those of COCO, which are part of pycocoevalcap.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pycocoevalcap
from PIL import Image

WHOLE = {"train2014": 82_783, "val2014": 40_504}  # COCO's photos
HELD_OUT = 5_000  # of val2014, for validation and again for test
_SIZES = ((640, 480), (480, 640), (640, 427), (500, 375))
_CELLS = 16  # pixels, of the coarse pattern
_NOISE, _QUALITY = 23.0, 90  # together they give COCO's 163 kB a photo


def generated_photo(number: int) -> bytes:
    """Return a JPEG with as many pixels and bytes as a photo of COCO: smooth colours and grain."""
    rng = np.random.default_rng(number)
    width, height = _SIZES[number % len(_SIZES)]
    coarse = rng.integers(0, 256, (height // _CELLS, width // _CELLS, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.normal(0, _NOISE, (height, width, 1))
    pixels = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def publish(folder: Path, photos: int, different: int) -> dict[str, int]:
    """Write the four archives.

    Args:
        folder: Where they go.
        photos: How many photos, at most COCO's 123,287; the first of each year are taken.
        different: How many of them differ.

    Returns:
        The images of each split. The split is not Karpathy's, which is no part of any package: the
        last photos of val2014 are held out.
    """
    pool = [generated_photo(number) for number in range(min(different, photos))]
    years = _years(photos)
    for year, captions in years.items():
        with zipfile.ZipFile(folder / f"{year}.zip", "w") as archive:  # stored, as published
            archive.mkdir(year)
            for number, image in enumerate(captions["images"]):
                archive.writestr(f"{year}/{image['file_name']}", pool[number % len(pool)])
    _zip_json(
        folder / "annotations_trainval2014.zip",
        {f"annotations/captions_{year}.json": captions for year, captions in years.items()},
    )
    records = list(_records(years, max(2, HELD_OUT * photos // sum(WHOLE.values()))))
    _zip_json(folder / "caption_datasets.zip", {"dataset_coco.json": {"images": records}})
    splits = ["train" if record["split"] == "restval" else record["split"] for record in records]
    return {split: splits.count(split) for split in ("train", "val", "test")}


def _years(photos: int) -> dict[str, dict]:
    """Return the captions file of each year for the first photos of it."""
    jar = Path(next(iter(pycocoevalcap.__path__))) / "spice" / "spice-1.0.jar"
    years = {}
    for year, whole in WHOLE.items():
        with zipfile.ZipFile(jar) as opened:
            captions = json.loads(opened.read(f"coco/annotations/captions_{year}.json"))
        images = captions["images"][: round(photos * whole / sum(WHOLE.values()))]
        ids = {image["id"] for image in images}
        annotations = [a for a in captions["annotations"] if a["image_id"] in ids]
        years[year] = {"images": images, "annotations": annotations}
    return years


def _records(years: dict[str, dict], held_out: int) -> Iterator[dict]:
    """Yield Karpathy's record of each image."""
    for year, captions in years.items():
        sentences: dict[int, list[dict]] = {}
        for annotation in captions["annotations"]:
            sentences.setdefault(annotation["image_id"], []).append({"raw": annotation["caption"]})
        splits = _splits(year, len(captions["images"]), held_out)
        for image, split in zip(captions["images"], splits, strict=True):
            yield {
                "filename": image["file_name"],
                "filepath": year,
                "cocoid": image["id"],
                "split": split,
                "sentences": sentences[image["id"]],
            }


def _splits(year: str, images: int, held_out: int) -> Sequence[str]:
    if year == "train2014":
        return ["train"] * images
    return ["restval"] * (images - 2 * held_out) + ["val"] * held_out + ["test"] * held_out


def _zip_json(path: Path, files: dict[str, dict]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(content))
