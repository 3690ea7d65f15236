import io
import os
import shutil
import signal
import zipfile
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors
from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import BadImage, PhotoSource
from dsacap.vision.features.encode import FeatureSize, encode_photos
from dsacap.vision.features.shards import PhotoSet
from dsacap.vision.features.store import FeatureStore

PHOTOS = 7


class Brightness(nn.Module):
    """Stand-in for an encoder: two tokens that hold the brightness of the top left pixel."""

    image_size = (16, 16)
    device = torch.device("cpu")
    scale = 1.0

    def shape(self):
        return 2, 3, 1

    def preprocess(self, photo):
        return self.scale * torch.tensor([sum(photo.getpixel((0, 0)))], dtype=torch.float)

    def forward(self, pixels):
        return torch.stack([pixels, -pixels], 1).expand(-1, -1, 3), pixels


@pytest.fixture
def photos(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for i in range(PHOTOS):
            buffer = io.BytesIO()
            Image.new("RGB", (16, 16), (i, i, i)).save(buffer, "png")
            archive.writestr(f"{i}.png", buffer.getvalue()[:-30] if i == 4 else buffer.getvalue())
    return {"photos": PhotoSource(tmp_path / "photos.zip")}


IMAGES = [
    CaptionedImage(10 + i, f"{i}.png", "photos", "train" if i < 3 else "test", ("a",))
    for i in range(PHOTOS)
]


def encode(photos, folder, on_bad_image="skip", encoder=None, images=IMAGES, workers=0, **how):
    photo_set = PhotoSet(images, photos, 2, 3, on_bad_image, workers)
    return encode_photos(photo_set, encoder or Brightness(), folder, **how)


def test_a_train_split_without_photos_is_refused(photos, tmp_path):
    with pytest.raises(UserError, match="no photo of the train split could be decoded"):
        encode(photos, tmp_path / "f", images=IMAGES[3:])


def test_a_bad_photo_is_named_with_its_id(photos, tmp_path):
    with pytest.raises(BadImage, match=r"photos/4\.png \(image id 14\).*on_bad_image"):
        encode(photos, tmp_path / "f", "error")


def test_skipped_photos_are_counted_and_have_no_features(photos, tmp_path):
    index = encode(photos, tmp_path)
    assert list(index["skipped"]) == ["14"] and "4.png" in index["skipped"]["14"]
    store = FeatureStore(tmp_path)
    assert 14 not in store and all(10 + i in store for i in range(PHOTOS) if i != 4)
    with pytest.raises(UserError, match="image id 14"):
        store.read([14])


def test_features_are_standardised_by_the_train_split(photos, tmp_path):
    encode(photos, tmp_path)
    store = FeatureStore(tmp_path)
    train = store.read([10, 11, 12])
    assert train.shape == (3, 2, 3)
    torch.testing.assert_close(train.mean((0, 1)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        train.flatten(0, 1).std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0
    )
    order = store.read([16, 10, 13])  # of different shards, in the order asked for
    torch.testing.assert_close(order[1], train[0])
    assert order[0, 0, 0] > order[2, 0, 0] > order[1, 0, 0]


def test_whole_shards_are_kept(photos, tmp_path):
    first = encode(photos, tmp_path)
    assert first.pop("photos_per_second") > 0
    written = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("shard-*.safetensors")}
    (tmp_path / "shard-00001.safetensors").unlink()
    assert encode(photos, tmp_path).items() > first.items()
    assert read_json(tmp_path / "index.json") == first
    rewritten = {n for n, t in written.items() if (tmp_path / n).stat().st_mtime_ns != t}
    assert rewritten == {"shard-00001.safetensors"}
    assert encode(photos, tmp_path) == first | {"photos_per_second": None}


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_decoding_processes_change_nothing(photos, tmp_path):
    encode(photos, tmp_path / "alone", views=2)
    encode(photos, tmp_path / "helped", views=2, workers=2)
    assert files_of(tmp_path / "alone") == files_of(tmp_path / "helped")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_photo_is_named_without_a_traceback(photos, tmp_path, workers):
    images = [*IMAGES[:2], CaptionedImage(99, "away.png", "photos", "train", ("a",))]
    with pytest.raises(UserError) as raised:
        encode(photos, tmp_path / "f", images=images, workers=workers)
    assert str(raised.value) == f"{tmp_path}/photos.zip: no photo 'away.png' in it"


def test_a_killed_decoding_process_is_reported_and_shards_stay(photos, tmp_path, monkeypatch):
    encode(photos, tmp_path / "whole", workers=1)
    (tmp_path / "f").mkdir()
    for name in ("shard-00000.safetensors", "shard-00000.skipped.json"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "f")
    with monkeypatch.context() as patched:
        patched.setattr(
            "dsacap.vision.features.shards.decode", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        )
        with pytest.raises(
            UserError,
            match=r"shard-00001\.safetensors: a process .* was killed.*set encoder\.workers lower",
        ):
            encode(photos, tmp_path / "f", workers=1)
    encode(photos, tmp_path / "f", workers=1)
    assert files_of(tmp_path / "f") == files_of(tmp_path / "whole")


def test_size_is_printed_before_and_time_after_the_first_shard(photos, tmp_path, capsys):
    encode(photos, tmp_path / "f")
    printed = capsys.readouterr().err
    size = "7 photos x 2 tokens x 3 channels of 16 bits: 0.00 GB"
    assert f"{size} to write in {tmp_path}/f" in printed
    assert "photos/s in the first shard, so about 0 more minutes" in printed
    assert FeatureSize(113287, 5, 50, 768, 512).bytes == 113287 * (5 * 2 * (50 * 768 + 512) + 8)
    stored = sum(p.stat().st_size for p in (tmp_path / "f").glob("shard-*.safetensors"))
    assert abs(stored - FeatureSize(6, 1, 2, 3, 1).bytes) < 3 * 400  # the headers of three shards


def test_a_full_disk_is_noticed_before_anything_is_written(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="GB free on this disk"):
        encode(photos, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_bfloat16_holds_what_float16_cannot(photos, tmp_path):
    bright = Brightness()
    bright.scale = 1e5
    with pytest.raises(UserError, match=r"float16 cannot hold; set encoder\.dtype: bfloat16"):
        encode(photos, tmp_path / "half", encoder=bright)
    encode(photos, tmp_path / "b", encoder=bright, dtype=torch.bfloat16)
    tensors, _ = read_tensors(tmp_path / "b" / "shard-00000.safetensors")
    assert tensors["tokens"].dtype == tensors["pooled"].dtype == torch.bfloat16
    train = FeatureStore(tmp_path / "b").read([10, 11, 12])
    assert train.dtype == torch.float32
    torch.testing.assert_close(train.mean((0, 1)), torch.zeros(3), atol=1e-5, rtol=0)


def test_views_are_parts_of_the_photo_and_the_first_is_the_photo_itself(tmp_path):
    """Photos get brighter from left to right, and are dark at their left edge."""
    rows = torch.arange(32, dtype=torch.uint8).mul(8).expand(32, 32)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for i in range(PHOTOS):
            buffer = io.BytesIO()
            Image.fromarray(rows.numpy()).convert("RGB").save(buffer, "png")
            archive.writestr(f"{i}.png", buffer.getvalue())
    photos = {"photos": PhotoSource(tmp_path / "photos.zip")}
    plain, index = encode(photos, tmp_path / "plain"), encode(photos, tmp_path / "views", views=4)
    assert (
        index["shards"] == plain["shards"]
        and len(index["views"]) == 3
        and index["augmentation"]["seed"] == 0
    )
    one, four = FeatureStore(tmp_path / "plain"), FeatureStore(tmp_path / "views")
    assert (one.views, four.views) == (1, 4)
    ids = [image.image_id for image in IMAGES]
    torch.testing.assert_close(four.read(ids), one.read(ids), atol=0, rtol=0)
    brightness = torch.stack(
        [four.read(ids, dict.fromkeys(ids, view))[:, 0, 0] for view in range(4)], 1
    )
    assert (brightness[:, 0] == brightness[0, 0]).all()  # all photos are equal
    assert len(brightness[:, 1:].unique()) > PHOTOS  # crops differ
    mixed = four.read(ids, dict(zip(ids, [0, 1, 2, 3, 0, 1, 2], strict=True)))[:, 0, 0]
    chosen = brightness[range(PHOTOS), [0, 1, 2, 3, 0, 1, 2]]
    torch.testing.assert_close(mixed, chosen, atol=0, rtol=0)
    torch.testing.assert_close(
        FeatureStore(tmp_path / "views").read_pooled(ids), one.read_pooled(ids), atol=0, rtol=0
    )


def test_a_shard_with_missing_views_is_made_again(photos, tmp_path):
    encode(photos, tmp_path, views=3)
    whole = files_of(tmp_path)
    (tmp_path / "shard-00001.safetensors").unlink()  # written last
    (tmp_path / "shard-00001-view-1.safetensors").unlink()
    encode(photos, tmp_path, views=3)
    assert files_of(tmp_path) == whole
