import numpy as np
import pytest
from PIL import Image

from dsacap.vision.degradations import DEGRADATIONS, blur, darkness, jpeg, noise


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(90, 160, (40, 64, 3), np.uint8)
    return Image.fromarray(np.repeat(np.repeat(pixels[::8, ::8], 8, 0), 8, 1))


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize(
    ("kind", "strengths"),
    [("noise", (5, 20)), ("blur", (1, 8)), ("jpeg", (95, 5)), ("darkness", (0.9, 0.3))],
)
def test_a_stronger_degradation_changes_more_and_is_the_same_every_time(photo, kind, strengths):
    weak, strong = (DEGRADATIONS[kind](photo, strength) for strength in strengths)
    assert weak.size == strong.size == photo.size and weak.mode == strong.mode == "RGB"
    assert 0 < difference(photo, weak) < difference(photo, strong)
    assert difference(strong, DEGRADATIONS[kind](photo, strengths[1])) == 0


def test_noise_has_its_standard_deviation_and_differs_between_photos(photo):
    grey = Image.new("RGB", (100, 100), (128, 128, 128))
    added = np.asarray(noise(grey, 10), float) - 128
    assert abs(added.mean()) < 0.5 and added.std() == pytest.approx(10, rel=0.05)
    lighter = Image.new("RGB", (100, 100), (129, 129, 129))
    assert not np.array_equal(added, np.asarray(noise(lighter, 10), float) - 129)


def test_darkness_multiplies_pixels():
    assert darkness(Image.new("RGB", (2, 2), (100, 200, 50)), 0.5).getpixel((0, 0)) == (50, 100, 25)


def test_blur_is_relative_to_the_size(photo):
    twice = photo.resize((128, 80), Image.Resampling.NEAREST)
    small, large = blur(photo, 5), blur(twice, 5).resize((64, 40), Image.Resampling.BOX)
    assert difference(small, large) < difference(small, photo) / 3


def test_jpeg_keeps_what_it_can(photo):
    assert difference(jpeg(photo, 95), photo) < 6
