import io
import zipfile

import pytest
import torch
from PIL import Image
from torch import nn

from dsacap.data.coco import CaptionedImage
from dsacap.data.photos import BadImage, PhotoSource
from dsacap.errors import UserError
from dsacap.files import read_json
from dsacap.vision.features import FeatureStore, encode_photos

PHOTOS = 7


class Brightness(nn.Module):
    """Stands in for an encoder: two tokens that say how bright a photo is."""

    def preprocess(self, photo):
        return torch.tensor([sum(photo.getpixel((0, 0)))], dtype=torch.float)

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


IMAGES = [CaptionedImage(10 + i, f"{i}.png", "photos", "train" if i < 3 else "test", ("a",)) for i in range(PHOTOS)]


def encode(photos, folder, on_bad_image="skip"):
    return encode_photos(IMAGES, photos, Brightness(), folder, batch_size=2, shard_size=3, on_bad_image=on_bad_image)


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
    torch.testing.assert_close(train.flatten(0, 1).std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
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
