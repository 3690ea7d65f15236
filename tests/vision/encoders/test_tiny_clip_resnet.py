import pytest
import torch

from dsacap.export.encoders import load_resnet, trained_resnet
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.encoders.load import load_encoder
from helpers import noise_photo


@pytest.mark.parametrize("grid", [None, 1])
@pytest.mark.parametrize("size", [(64, 64), (211, 90), (20, 33)])
def test_it_computes_what_open_clip_does_to_the_last_bit(tiny_layout, size, grid):
    theirs, ours = (
        load_encoder(local_name(tiny_layout.encoder), None, grid),
        load_resnet(*trained_resnet(tiny_layout.encoder, grid)),
    )
    photo = noise_photo(size, 90)
    pixels = ours.preprocess(photo)
    assert torch.equal(pixels, theirs.preprocess(photo)) and ours.image_size == theirs.image_size
    batch = torch.stack([pixels, pixels.flip(-1), pixels * 0.5])
    for mine, other in zip(ours(batch), theirs(batch), strict=True):
        assert torch.equal(mine, other)
