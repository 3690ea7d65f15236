"""The rehearsal of COCO itself, on 40 photos."""

import io
import json
import zipfile

import pytest
from PIL import Image
from published_coco import generated_photo, publish
from rehearse import ALL, rehearse

from dsacap.common.errors import UserError


def test_generated_photos_have_the_size_of_cocos():
    photos = [generated_photo(number) for number in range(4)]
    assert 130_000 < sum(map(len, photos)) / 4 < 200_000
    assert len(set(photos)) == 4 and photos[0] == generated_photo(0)
    assert Image.open(io.BytesIO(photos[0])).size == (640, 480)


def test_archives_have_the_published_names_and_layout(tmp_path):
    images = publish(tmp_path, 40, different=4)
    assert images == {"train": 36, "val": 2, "test": 2}
    assert {file.name for file in tmp_path.iterdir()} == {
        "train2014.zip",
        "val2014.zip",
        "annotations_trainval2014.zip",
        "caption_datasets.zip",
    }
    with zipfile.ZipFile(tmp_path / "train2014.zip") as archive:
        names = archive.namelist()
        assert names[0] == "train2014/" and len(names) == 1 + 27
        assert names[1].startswith("train2014/COCO_train2014_0000")
        assert archive.infolist()[1].compress_type == zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / "caption_datasets.zip") as archive:
        record = json.loads(archive.read("dataset_coco.json"))["images"][-1]
    assert (record["filepath"], record["split"]) == ("val2014", "test")
    assert len(record["sentences"]) >= 5


def test_every_part_runs_and_resumes_after_kill_9(tmp_path):
    encoder = {"name": "patches:64/16", "shard_size": 4, "batch_size": 2}
    record = rehearse(tmp_path / "here", 40, encoder, different=4)
    parts = {part["name"]: part for part in record["parts"]}
    assert list(parts) == [
        "download",
        "unpack annotations_trainval2014",
        "unpack caption_datasets",
        "data",
        "encoder",
        "features",
        "batches of an epoch",
        "the same, ahead of 1 steps of 20 ms",
    ]
    assert {name for name, part in parts.items() if part["kills"]} == {"download", "features"}
    assert parts["download"]["bytes"] >= record["archive_bytes"] > 40 * 130_000
    done, kept = parts["features"]["killed"].split(" of 10 shards; ")
    number = int(done.removeprefix("after "))
    assert 5 <= number < 10 and kept == f"{number} were kept"
    assert parts["features"]["bytes"] > 40 * 2 * 16 * 768
    for part in parts.values():
        assert part["seconds"] > 0 and part["peak_mib"] > 10 and len(part["memory_mib"]) == 4
    with pytest.raises(UserError, match="is not empty"):
        rehearse(tmp_path / "here", 40, encoder)
    for photos in (0, ALL + 1):
        with pytest.raises(UserError, match=r"--photos \d+: give 40 to 123,287"):
            rehearse(tmp_path / "there", photos, encoder)
