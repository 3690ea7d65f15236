"""Generated pictures are preprocessed as photos are, where they lie."""

import pytest
import torch
from torchvision.transforms.functional import to_tensor

from dsacap.common.errors import UserError
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.encoders.ensemble import EnsembleEncoder
from dsacap.vision.encoders.load import load_encoder
from dsacap.vision.encoders.patch_encoder import PatchEncoder
from helpers import noise_photo, save_vit


@pytest.fixture
def clip(tmp_path):
    save_vit(tmp_path / "clip")
    return load_encoder(local_name(tmp_path / "clip"), None)


@pytest.mark.parametrize("kind", ["clip", "ensemble", "patches"])
def test_pictures_become_what_photos_do(clip, kind):
    encoder = {"clip": clip, "ensemble": EnsembleEncoder([clip] * 2), "patches": None}[kind]
    encoder = encoder or PatchEncoder(64, 16)
    photos = [noise_photo((160, 160), spread, seed) for seed, spread in enumerate((5.0, 20.0))]
    for photo in photos:
        photo.paste((200, 200, 200), (40, 40, 90, 160))
    expected = torch.stack([encoder.preprocess(photo) for photo in photos])
    found = encoder.from_pictures(torch.stack([to_tensor(photo) for photo in photos]))
    assert found.shape == expected.shape
    # Pillow rounds to 8 bits after each of its two passes: 2 of 255, over a channel's deviation.
    torch.testing.assert_close(found, expected, atol=2 / 255 / 0.26, rtol=0)
    # Bicubic resizing overshoots at an edge of black and white, and no photo is whiter than white.
    edge = torch.zeros(1, 3, 160, 160)
    edge[..., 75:] = 1
    white = encoder.from_pictures(torch.ones(1, 3, 160, 160)).max()
    assert encoder.from_pictures(edge).max() <= white + 1e-5


def test_an_unknown_preprocessing_is_refused(clip):
    clip.preprocess = lambda photo: to_tensor(photo)
    with pytest.raises(UserError, match="its preprocessing does not end with a normalisation"):
        clip.from_pictures(torch.zeros(1, 3, 64, 64))
