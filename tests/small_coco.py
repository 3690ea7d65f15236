"""A small COCO 2014, to load and to spoil."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dsacap.data.coco import CaptionedImage, load_coco


def captions_file(ids: range, year: str) -> dict:
    """Return an annotation file with two captions an image, the larger annotation id first."""
    images = [{"id": i, "file_name": f"{year}_{i}.jpg"} for i in ids]
    return {
        "images": images,
        "annotations": [
            {"id": i * 10 + k, "image_id": i, "caption": f"{k} of {i}"} for i in ids for k in (1, 0)
        ],
    }


def karpathy_record(image_id: int, year: str, split: str) -> dict:
    sentences = [{"raw": f"{k} of {image_id}"} for k in range(2)]
    return {
        "filename": f"{year}_{image_id}.jpg",
        "filepath": year,
        "cocoid": image_id,
        "split": split,
        "sentences": sentences,
    }


@dataclass
class Coco:
    """A small COCO 2014.

    Images 1 to 4 are in train2014; 5 (restval), 6 (val), 7 (test) and 8 (in no split) in val2014.
    """

    folder: Path
    train: dict
    val: dict
    karpathy: dict

    def image_folders(self) -> dict[str, Path]:
        return {"train2014": self.folder / "train2014", "val2014": self.folder / "val2014.zip"}

    def annotations(self) -> list[Path]:
        return [self.folder / "captions_train2014.json", self.folder / "captions_val2014.json"]

    def load(self, **changes) -> tuple[list[CaptionedImage], dict[str, int]]:
        split = self.folder / "dataset_coco.json"
        for path, data in zip(
            [*self.annotations(), split], (self.train, self.val, self.karpathy), strict=True
        ):
            path.write_text(json.dumps(data))
        return load_coco(
            **{"annotations": self.annotations(), "images": self.image_folders(), "split": split}
            | changes
        )


def small_coco(folder: Path) -> Coco:
    """Return it, with its photos written to a folder."""
    (folder / "train2014").mkdir()
    for i in range(1, 5):
        (folder / "train2014" / f"train2014_{i}.jpg").touch()
    with zipfile.ZipFile(folder / "val2014.zip", "w") as archive:
        for i in range(5, 8):  # 8 is in no split and needs no photo
            archive.writestr(f"val2014/val2014_{i}.jpg", b"")
    records = [karpathy_record(i, "train2014", "train") for i in range(1, 5)]
    records += [
        karpathy_record(i, "val2014", split)
        for i, split in ((5, "restval"), (6, "val"), (7, "test"))
    ]
    train, val = captions_file(range(1, 5), "train2014"), captions_file(range(5, 9), "val2014")
    return Coco(folder, train, val, {"images": records, "dataset": "coco"})
