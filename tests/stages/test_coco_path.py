"""config/coco.yaml from downloads to features, at a small scale.

The photos and the format of the archives are COCO's, and the checkpoint is in open_clip's format.
"""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
import yaml

from dsacap.cli.main import main
from dsacap.common.files import read_json, sha256
from dsacap.config.experiment import load_config
from dsacap.data.coco import hash_of_ids
from dsacap.data.photos import PhotoSource, decode
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout, manifest_of
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.features.store import FeatureStore
from helpers import save_vit
from web import cut, serving, status

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 24
SPLIT_OF = ["train"] * 10 + ["restval"] * 4 + ["val"] * 5 + ["test"] * 5
UNPACK = [
    f"unpack --file data/coco/{name}.zip"
    for name in ("annotations_trainval2014", "caption_datasets")
]


def coco_archives(real_data: Path, folder: Path) -> dict[int, list[str]]:
    """Write archives like the published ones, with a few images.

    They are photos in train2014/ and val2014/, captions of both, and Karpathy's file.

    Returns:
        Image id -> captions.
    """
    everything = read_json(real_data / "photos" / "captions_coco.json")
    images = everything["images"][:IMAGES]
    annotations_of = {
        image["id"]: [a for a in everything["annotations"] if a["image_id"] == image["id"]]
        for image in images
    }
    year_of = {
        image["id"]: "train2014" if split == "train" else "val2014"
        for image, split in zip(images, SPLIT_OF, strict=True)
    }
    name_of = {i: f"COCO_{year}_{i:012d}.jpg" for i, year in year_of.items()}
    files = {image["id"]: image["file_name"] for image in images}
    with zipfile.ZipFile(real_data / "photos" / "coco_96px.zip") as photos:
        for year in ("train2014", "val2014"):
            with zipfile.ZipFile(folder / f"{year}.zip", "w") as archive:
                archive.mkdir(year)
                for i in (i for i in name_of if year_of[i] == year):
                    archive.writestr(f"{year}/{name_of[i]}", photos.read(files[i]))
    with zipfile.ZipFile(
        folder / "annotations_trainval2014.zip", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        for year in ("train2014", "val2014"):
            ids = [i for i in name_of if year_of[i] == year]
            data = {
                "images": [{"id": i, "file_name": name_of[i]} for i in ids],
                "annotations": [a for i in ids for a in annotations_of[i]],
            }
            archive.writestr(f"annotations/captions_{year}.json", json.dumps(data))
            archive.writestr(f"annotations/instances_{year}.json", "{}")
    records = [
        {
            "filename": name_of[i],
            "filepath": year_of[i],
            "cocoid": i,
            "split": split,
            "sentences": [{"raw": a["caption"]} for a in annotations_of[i]],
        }
        for i, split in zip(name_of, SPLIT_OF, strict=True)
    ]
    with zipfile.ZipFile(folder / "caption_datasets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset_coco.json", json.dumps({"dataset": "coco", "images": records}))
        archive.writestr("dataset_flickr8k.json", "{}")
    return {
        i: [a["caption"] for a in sorted(annotations, key=lambda a: a["id"])]
        for i, annotations in annotations_of.items()
    }


def coco_config(base: str, archives: Path, ids: list[int], encoder: dict) -> dict:
    """Return config/coco.yaml with other addresses, sizes and hashes, and a small encoder."""
    data = yaml.safe_load((ROOT / "config" / "coco.yaml").read_text())
    dataset = data["dataset"]
    for target, remote in dataset["downloads"].items():
        file = archives / Path(target).name
        remote.pop("md5", None)
        remote |= {
            "url": f"{base}/{file.name}",
            "size": file.stat().st_size,
            "sha256": sha256(file),
        }
        for wanted in remote.get("unpack", {}):
            with zipfile.ZipFile(file) as archive:
                found = next(n for n in archive.namelist() if n.endswith(Path(wanted).name))
            remote["unpack"][wanted] = None
            assert found == Path(wanted).relative_to(Path(target).parent).as_posix()
    parts = {"train": ids[:14], "val": ids[14:19], "test": ids[19:]}
    dataset["expected"] = {split: len(part) for split, part in parts.items()}
    dataset["expected_ids"] = {split: hash_of_ids(part) for split, part in parts.items()}
    return data | {
        "encoder": encoder,
        "generator": {"train": {"steps": 1}},
        "text": {"min_count": 1},
        "published": None,
    }


@pytest.fixture
def coco(real_data, tmp_path, monkeypatch):
    archives = tmp_path / "published"
    archives.mkdir()
    captions = coco_archives(real_data, archives)
    weights = tmp_path / "clip"
    save_vit(weights)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return archives, weights, captions


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_from_download_to_features(coco, capsys):
    archives, weights, captions = coco
    with serving(files={file.name: file for file in archives.iterdir()}) as server:
        server.faults = [cut(1000), status(503)]
        encoder = {
            "name": local_name(weights),
            "sha256": sha256(weights / "open_clip_model.safetensors"),
            "grid": 4,
        }
        config = Path("coco.yaml")
        encoder |= {"batch_size": 5, "shard_size": 9, "dtype": "bfloat16", "views": 2, "workers": 1}
        config.write_text(
            yaml.safe_dump(coco_config(server.base, archives, list(captions), encoder))
        )
        assert run("check", "--config", config) == 0
        printed = capsys.readouterr().out
        assert "to download and unpack in data/coco: 0.0 GB" in printed
        assert "24 photos x 2 views x 17 tokens x 32 channels of 16 bits" in printed
        for verb in ("download", "download", *UNPACK, "data", "encoder", "features", "check"):
            assert run(*verb.split(), "--config", config) == 0, capsys.readouterr().err
        asked = len(server.asked)
    assert asked == 4 + 2  # four files of one segment each, two of which fail once
    layout = Layout(load_config(config))
    facts = read_json(manifest_of(layout.data))["facts"]
    assert facts["images"] == {"test": 5, "train": 14, "val": 5} and facts["dropped"] == 0
    assert facts["ids_sha256"] == layout.config.dataset.expected_ids
    assert {e.image_id: list(e.image.captions) for e in load_examples(layout.data)} == captions
    assert not Path("data/coco/annotations/instances_train2014.json").exists()
    assert read_json(manifest_of(layout.encoder))["facts"]["weights"]["sha256"] == encoder["sha256"]
    store = FeatureStore(layout.features)
    assert store.views == 2 and store.read(list(captions), dict.fromkeys(captions, 1)).shape == (
        IMAGES,
        17,
        32,
    )
    example = load_examples(layout.data, "test")[0].image
    with torch.inference_mode():
        photo = decode(PhotoSource(Path("data/coco/val2014.zip")).read(example.file_name), "")
        clip, _, preprocess = open_clip.create_model_and_transforms(local_name(weights))
        pooled = clip.eval().encode_image(preprocess(photo)[None], normalize=True)
    torch.testing.assert_close(
        store.read_pooled([example.image_id]), pooled, atol=5e-3, rtol=0
    )  # bfloat16


def test_offline_from_a_folder(coco, capsys):
    archives, weights, captions = coco
    config = Path("coco.yaml")
    config.write_text(
        yaml.safe_dump(
            coco_config(
                "http://127.0.0.1:9", archives, list(captions), {"name": local_name(weights)}
            )
        )
    )
    assert run("download", "--config", config, "--offline", "--from", "nowhere") == 1
    assert "error: nowhere: no such folder" in capsys.readouterr().err
    assert run("download", "--config", config, "--offline") == 1
    printed = capsys.readouterr().err
    assert all(
        f"  {file.name}, {file.stat().st_size:,} bytes, from http://127.0.0.1:9/{file.name}"
        in printed
        for file in archives.iterdir()
    )
    for verb in ("download --offline --from ../published", *UNPACK, "data"):
        assert run(*verb.split(), "--config", config) == 0, capsys.readouterr().err
    assert Path("data/coco/train2014.zip").is_symlink()


def spoil_archive(folder: Path) -> str:
    with zipfile.ZipFile(folder / "val2014.zip", "a") as archive:
        archive.writestr("val2014/x.jpg", b"x")
    return "val2014.zip: not the file expected from"


def spoil_split(folder: Path) -> str:
    karpathy = read_json(folder / "dataset_coco.json")
    first, last = karpathy["images"][0], karpathy["images"][-1]
    first["split"], last["split"] = last["split"], first["split"]  # the sizes are still right
    (folder / "dataset_coco.json").write_text(json.dumps(karpathy))
    return "dataset_coco.json: the image ids of split '"


def spoil_captions(folder: Path) -> str:
    (folder / "annotations/captions_val2014.json").write_text("{}")
    source = "http://127.0.0.1:9/annotations_trainval2014.zip"
    return f"captions_val2014.json: not the file expected from {source}"


@pytest.mark.parametrize("spoil", [spoil_archive, spoil_split, spoil_captions])
def test_files_copied_by_hand_are_checked_before_use(coco, capsys, spoil):
    archives, weights, captions = coco
    data = coco_config(
        "http://127.0.0.1:9", archives, list(captions), {"name": local_name(weights)}
    )
    for remote in data["dataset"]["downloads"].values():
        for wanted in remote.get("unpack", {}):
            if "val2014" in wanted:
                with zipfile.ZipFile(archives / "annotations_trainval2014.zip") as archive:
                    content = archive.read(f"annotations/{Path(wanted).name}")
                remote["unpack"][wanted] = f"md5:{hashlib.md5(content).hexdigest()}"
    Path("coco.yaml").write_text(yaml.safe_dump(data))
    shutil.copytree(archives, "data/coco")
    for verb in UNPACK:
        assert run(*verb.split(), "--config", "coco.yaml") == 0, capsys.readouterr().err
    assert run("data", "--config", "coco.yaml") == 0, capsys.readouterr().err
    message = spoil(Path("data/coco"))
    assert run("data", "--config", "coco.yaml") == 1
    assert message in capsys.readouterr().err


def test_an_archive_is_checked_before_it_is_unpacked(coco, capsys):
    archives, weights, captions = coco
    Path("coco.yaml").write_text(
        yaml.safe_dump(
            coco_config("http://x", archives, list(captions), {"name": local_name(weights)})
        )
    )
    shutil.copytree(archives, "data/coco")
    with zipfile.ZipFile("data/coco/caption_datasets.zip", "a") as archive:
        archive.writestr("more.json", "{}")
    assert run(*UNPACK[1].split(), "--config", "coco.yaml") == 1
    assert "caption_datasets.zip: not the file expected" in capsys.readouterr().err
    assert not Path("data/coco/dataset_coco.json").exists()
