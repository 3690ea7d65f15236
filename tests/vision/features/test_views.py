import numpy as np
import pytest
import torch
from PIL import Image

from dsacap.data.coco import CaptionedImage
from dsacap.vision.features.views import AUGMENTATION, augmented

SIZE = (24, 30)


def photo() -> Image.Image:
    """Return a photo with red rising to the right and green downwards, which locates crops."""
    across, down = np.meshgrid(np.arange(200), np.arange(150))
    return Image.fromarray(np.stack([across, down, np.zeros_like(across)], -1).astype(np.uint8))


def views_of(caption: str, count: int, image_id: int = 1) -> list[np.ndarray]:
    image = CaptionedImage(image_id, "1.png", "photos", "train", ("A dog.", caption))
    return [np.asarray(augmented(photo(), image, view, SIZE)) for view in range(1, count + 1)]


def test_views_are_the_same_for_the_same_image_and_view():
    torch.manual_seed(1)
    first, before = views_of("A cat.", 3), torch.rand(1)
    torch.manual_seed(1)
    again, after = views_of("A cat.", 3), torch.rand(1)
    assert all((a == b).all() for a, b in zip(first, again, strict=True)) and before == after
    assert not (first[0] == first[1]).all()
    assert not (first[0] == views_of("A cat.", 1, image_id=2)[0]).all()


def test_views_are_crops_of_a_large_part_of_the_photo():
    shares = []
    for view in views_of("On the left.", 60):
        assert view.shape == (*SIZE, 3)
        across, down = np.ptp(view[..., 0].astype(float)), np.ptp(view[..., 1].astype(float))
        shares.append(across / 199 * down / 149)
    assert 0.5 < min(shares) < 0.7 and max(shares) <= 1
    assert AUGMENTATION["scale"][0] - 0.1 < min(shares)


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("A cat.", True),
        ("A dog left of a cat.", False),
        ("RIGHT behind.", False),
        ("A bright, leftover cake.", True),
    ],
)
def test_mirrored_only_if_no_caption_mentions_sides(caption, mirrored):
    rising = [view[0, 0, 0] < view[0, -1, 0] for view in views_of(caption, 40)]
    assert all(rising) is not mirrored
    if mirrored:
        assert 8 < sum(rising) < 32
