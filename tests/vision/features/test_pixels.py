import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder
from dsacap.stages.pixels import make_pixels
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.encoders.load import load_encoder, without_weights
from dsacap.vision.features.pixels import PixelFeatures, PixelSize
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.features.views import AUGMENTATION, random_frame
from helpers import save_vit


def features_of(layout: Layout, drawn: bool = False) -> PixelFeatures:
    return PixelFeatures(
        layout.pixels, FeatureStore(layout.features), load_configured_encoder(layout), drawn
    )


def test_an_encoder_before_fine_tuning_gives_the_features_on_disk(pixel_layout):
    store = features_of(pixel_layout)
    ids = [example.image_id for example in load_examples(pixel_layout.data)]
    found, kept = store.read(ids), store.frozen_store.read(ids)
    std, mean = store.frozen_store.std, store.frozen_store.mean
    raw = found * std + mean
    # Features on disk are rounded to 16 bits.
    torch.testing.assert_close(raw, kept * std + mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(store.read(ids[::-1]).flip(0), found, rtol=0, atol=1e-5)
    with pytest.raises(
        UserError, match=re.escape(f"{pixel_layout.pixels}: no pixels of image id -1")
    ):
        store.read([-1])


@pytest.mark.parametrize("kind", ["tiny", "vit", "timm", "patches"])
def test_pixels_of_8_bits_lose_nothing(kind, pixel_layout, tmp_path):
    """Any encoder gets the same pixels from bytes as from the photo."""
    if kind == "vit":
        save_vit(tmp_path / "vit")
    encoder = {
        "tiny": lambda: load_configured_encoder(pixel_layout),
        "vit": lambda: load_encoder(local_name(tmp_path / "vit"), None),
        "timm": lambda: without_weights("timm:tf_efficientnet_lite0"),
        "patches": lambda: load_encoder("patches:64/8", None),
    }[kind]()
    from PIL import Image

    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    kept = encoder.to_bytes(photo)
    assert kept.dtype == torch.uint8 and kept.shape == (3, *encoder.image_size)
    torch.testing.assert_close(
        encoder.from_bytes(kept[None])[0], encoder.preprocess(photo), rtol=0, atol=1e-6
    )


def test_the_text_tower_is_not_trained(pixel_layout):
    store = features_of(pixel_layout)
    names = [name for name, _ in store.encoder.named_parameters()]
    assert names and all(name.startswith("clip.visual.") for name in names)
    assert set(names) < {
        name for name, _ in load_configured_encoder(pixel_layout).named_parameters()
    }


def test_views_are_cropped_from_the_photo_by_their_frames(pixel_layout):
    store = features_of(pixel_layout, drawn=True)
    ids = [example.image_id for example in load_examples(pixel_layout.data, "train")][:5]
    plain = store.rows(ids)
    assert plain.frames is None and store.views > 1000 and features_of(pixel_layout).views == 1
    views = dict(zip(ids, (0, 7, 8, 9, 10), strict=True))
    rows = store.rows(ids, views)
    assert torch.equal(rows.pixels, plain.pixels)
    assert rows.frames.tolist()[0] == [[1, 0, 0], [0, 1, 0]]
    found, whole = store.features(rows, "cpu"), store.features(plain, "cpu")
    torch.testing.assert_close(found[0], whole[0], rtol=0, atol=1e-3)
    assert all((a - b).abs().max() > 0.05 for a, b in zip(found[1:], whole[1:], strict=True))
    assert torch.equal(store.features(store.rows(ids, views), "cpu"), found)


def test_frames_are_inside_the_photo_and_have_the_configured_sizes():
    frames = np.array(
        [
            random_frame(image_id, view, sided=False)
            for image_id in range(40)
            for view in range(1, 26)
        ]
    )
    width, height = np.abs(frames[:, 0, 0]), frames[:, 1, 1]
    centre = frames[:, :, 2]
    assert (np.abs(centre[:, 0]) + width <= 1 + 1e-9).all()
    assert (np.abs(centre[:, 1]) + height <= 1 + 1e-9).all()
    # A wide or tall frame is cut off at the edges, so it may be smaller than the smallest scale.
    assert AUGMENTATION["scale"][0] * 0.86 < (width * height).min() < 0.65
    assert (width * height).max() > 0.95
    assert 0.4 < (frames[:, 0, 0] < 0).mean() < 0.6
    assert all(random_frame(3, view, sided=True)[0][0] > 0 for view in range(1, 50))
    assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) == len(frames)


def test_a_mirrored_frame_mirrors():
    across = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    grid = F.affine_grid(
        torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]), [1, 1, 8, 8], align_corners=False
    )
    torch.testing.assert_close(F.grid_sample(across, grid, align_corners=False), across.flip(-1))


def test_photos_whose_captions_mention_left_or_right_are_never_mirrored(pixel_layout):
    store = features_of(pixel_layout, drawn=True)
    examples = load_examples(pixel_layout.data)
    sided = [
        e.image_id
        for e in examples
        if any("left" in c.split() or "right" in c.split() for c in e.image.captions)
    ]
    assert sided and set(sided) == store._sided
    for view in range(1, 40):
        assert (store.rows(sided, dict.fromkeys(sided, view)).frames[:, 0, 0] > 0).all()


def test_the_size_on_disk_is_printed(pixel_layout, capsys):
    index = read_json(pixel_layout.pixels / "index.json")
    stored = sum((pixel_layout.pixels / shard["file"]).stat().st_size for shard in index["shards"])
    size = PixelSize(36, *index["size"])
    assert index["size"] == [64, 64] and 0 <= stored - size.bytes < 2 * 500  # headers
    (pixel_layout.pixels / index["shards"][1]["file"]).unlink()
    make_pixels(pixel_layout)
    assert (
        "pixels: 16 photos x 64 x 64 pixels of 24 bits: 0.00 GB to write in"
        in capsys.readouterr().err
    )
    assert read_json(pixel_layout.pixels / "index.json") == index


def test_missing_pixels_are_reported_with_the_verb(tiny_layout):
    with pytest.raises(
        UserError, match=r"no pixels, which training.fine_tune needs; run `dsacap pixels`"
    ):
        features_of(tiny_layout)


def test_unknown_preprocessing_is_refused(pixel_layout):
    encoder = load_configured_encoder(pixel_layout)
    encoder.preprocess = lambda photo: photo
    with pytest.raises(UserError, match="ClipEncoder: photos cannot be kept as pixels"):
        encoder.to_bytes(None)
