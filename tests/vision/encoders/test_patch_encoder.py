import numpy as np
import pytest
import torch
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.vision.encoders.load import input_size, load_encoder, shape_without_weights

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))


def test_tokens_are_the_pixels_of_patches():
    encoder = load_encoder("patches:64/8", None)
    pixels_3HW = encoder.preprocess(PHOTO)
    assert pixels_3HW.shape == (3, 64, 64) and pixels_3HW.min() >= -1 and pixels_3HW.max() <= 1
    tokens, pooled = encoder(pixels_3HW[None])
    assert tokens.shape == (1, 64, 192)
    second = pixels_3HW[:, :8, 8:16]  # of the first row
    torch.testing.assert_close(tokens[0, 1], second.flatten())
    mean = tokens.mean(1)
    torch.testing.assert_close(pooled, mean / mean.norm())


def test_it_has_no_weights_but_a_shape_an_input_and_a_device():
    assert shape_without_weights("patches:64/16") == (16, 768, 768)
    assert shape_without_weights("patches:64/8", grid=2) == (4, 192, 192)
    assert input_size("patches:96/8") == (96, 96)
    encoder = load_encoder("patches:64/8", None).to("meta")
    assert encoder.device.type == "meta" and not encoder.state_dict()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("patches:64", "write patches:SIZE/PATCH"),
        ("patches:64/0", "write patches:SIZE/PATCH"),
        ("patches:64/7", "patches of 7 pixels do not tile 64 pixels; choose a PATCH"),
    ],
)
def test_other_names_are_refused(name, problem):
    for load in (lambda: load_encoder(name, None), lambda: shape_without_weights(name)):
        with pytest.raises(UserError, match=f"encoder {name}: {problem}"):
            load()
