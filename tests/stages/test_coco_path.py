"""config/coco.yaml from the net to features, in small: real photos of COCO in COCO's archives, a real checkpoint in open_clip's format."""

import json
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
import yaml

from dsacap import cli
from dsacap.data.coco import hash_of_ids
from dsacap.files import read_json, sha256

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 24
SPLIT_OF = ["train"] * 10 + ["restval"] * 4 + ["val"] * 5 + ["test"] * 5
TINY_VIT = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def coco_archives(real_data: Path, folder: Path) -> dict[int, list[str]]:
    """The published archives, with a few images: photos in train2014/ and val2014/, captions of both, Karpathy's file.
    Returns id -> captions."""
    everything = read_json(real_data / "photos" / "captions_coco.json")
    images = everything["images"][:IMAGES]
    said = {image["id"]: [a for a in everything["annotations"] if a["image_id"] == image["id"]] for image in images}
    year_of = {image["id"]: "train2014" if split == "train" else "val2014" for image, split in zip(images, SPLIT_OF, strict=True)}
    name_of = {i: f"COCO_{year}_{i:012d}.jpg" for i, year in year_of.items()}
    files = {image["id"]: image["file_name"] for image in images}
    with zipfile.ZipFile(real_data / "photos" / "coco_96px.zip") as photos:
        for year in ("train2014", "val2014"):
            with zipfile.ZipFile(folder / f"{year}.zip", "w") as archive:
                archive.mkdir(year)
                for i in (i for i in name_of if year_of[i] == year):
                    archive.writestr(f"{year}/{name_of[i]}", photos.read(files[i]))
    with zipfile.ZipFile(folder / "annotations_trainval2014.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for year in ("train2014", "val2014"):
            ids = [i for i in name_of if year_of[i] == year]
            data = {"images": [{"id": i, "file_name": name_of[i]} for i in ids], "annotations": [a for i in ids for a in said[i]]}
            archive.writestr(f"annotations/captions_{year}.json", json.dumps(data))
            archive.writestr(f"annotations/instances_{year}.json", "{}")
    records = [
        {"filename": name_of[i], "filepath": year_of[i], "cocoid": i, "split": split, "sentences": [{"raw": a["caption"]} for a in said[i]]}
        for i, split in zip(name_of, SPLIT_OF, strict=True)
    ]
    with zipfile.ZipFile(folder / "caption_datasets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset_coco.json", json.dumps({"dataset": "coco", "images": records}))
        archive.writestr("dataset_flickr8k.json", "{}")
    return {i: [a["caption"] for a in sorted(annotations, key=lambda a: a["id"])] for i, annotations in said.items()}


def coco_config(base: str, archives: Path, ids: list[int], encoder: dict) -> dict:
    """config/coco.yaml with other addresses, sizes and hashes, and a small encoder."""
    data = yaml.safe_load((ROOT / "config" / "coco.yaml").read_text())
    dataset = data["dataset"]
    for target, remote in dataset["downloads"].items():
        file = archives / Path(target).name
        remote.pop("md5", None)
        remote |= {"url": f"{base}/{file.name}", "size": file.stat().st_size, "sha256": sha256(file)}
        for wanted in remote.get("unpack", {}):
            with zipfile.ZipFile(file) as archive:
                found = next(n for n in archive.namelist() if n.endswith(Path(wanted).name))
            remote["unpack"][wanted] = None
            assert found == Path(wanted).relative_to(Path(target).parent).as_posix()
    parts = {"train": ids[:14], "val": ids[14:19], "test": ids[19:]}
    dataset["expected"] = {split: len(part) for split, part in parts.items()}
    dataset["expected_ids"] = {split: hash_of_ids(part) for split, part in parts.items()}
    return data | {"encoder": encoder, "generator": {"train": {"steps": 1}}, "text": {"min_count": 1}, "published": None}


@pytest.fixture
def coco(real_data, tmp_path, monkeypatch):
    archives = tmp_path / "published"
    archives.mkdir()
    said = coco_archives(real_data, archives)
    weights = tmp_path / "clip"
    weights.mkdir()
    torch.manual_seed(0)
    clip = open_clip.CLIP(**TINY_VIT)
    clip.visual.preprocess_cfg = {}
    torch.save(clip.state_dict(), weights / "open_clip_pytorch_model.bin")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return archives, said


def run(*arguments) -> int:
    return cli.main([str(a) for a in arguments])
