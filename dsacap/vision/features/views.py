"""Views of a photo for training: random crops, mirrored where the captions allow it.

Features that are encoded once show each photo in one way only, which costs a captioner that is
trained for long; GRIT (Nguyen et al. 2022) reports 5 CIDEr. A few views give cheaply a part of the
variety that end-to-end training sees. Our reading: crops keep at least three fifths of the photo,
since a view without the objects that captions mention teaches a captioner to invent.
"""

import math
import re
from typing import Any

import numpy as np
import torch
from PIL import Image

from dsacap.data.coco import CaptionedImage

AUGMENTATION: dict[str, Any] = {  # recorded in the index of the features
    "seed": 0,
    "scale": [0.6, 1.0],
    "ratio": [3 / 4, 4 / 3],
    "mirrored": 0.5,
}
_SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def augmented(
    photo: Image.Image, image: CaptionedImage, view: int, size: tuple[int, int]
) -> Image.Image:
    """Crop a photo at random, and mirror it unless one of its captions mentions left or right.

    Args:
        photo: The photo.
        image: Its id, which seeds the crop together with `view`, and its captions.
        view: The number of the view, from 1 on.
        size: Height and width of the result.

    Returns:
        The view, which depends on nothing but the arguments.
    """
    # torchvision takes a second to import.
    from torchvision.transforms import InterpolationMode, RandomResizedCrop
    from torchvision.transforms.functional import hflip, resized_crop

    seed = np.random.SeedSequence([AUGMENTATION["seed"], image.image_id, view]).generate_state(1)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        box = RandomResizedCrop.get_params(photo, AUGMENTATION["scale"], AUGMENTATION["ratio"])
        mirrored = torch.rand(()).item() < AUGMENTATION["mirrored"]
    photo = resized_crop(photo, *box, list(size), InterpolationMode.BICUBIC)
    return hflip(photo) if mirrored and not mentions_sides(image) else photo


def mentions_sides(image: CaptionedImage) -> bool:
    """Return whether a caption mentions left or right, so that mirroring would falsify it."""
    return any(_SIDED.search(caption) for caption in image.captions)


def random_frame(image_id: int, view: int, sided: bool) -> list[list[float]]:
    """Draw the frame of a view such as `augmented` cuts out, for pixels that are in memory.

    Args:
        image_id: Seeds the frame together with `view`.
        view: The number of the view, from 1 on.
        sided: Whether a caption mentions left or right; the view is then not mirrored.

    Returns:
        The affine map (2, 3) from the view's coordinates to the photo's, as
        `torch.nn.functional.affine_grid` takes it.
    """
    rng = np.random.default_rng([AUGMENTATION["seed"], image_id, view])
    low, high = (math.log(ratio) for ratio in AUGMENTATION["ratio"])
    area, log_ratio = rng.uniform(*AUGMENTATION["scale"]), rng.uniform(low, high)
    width, height = (min(1.0, math.sqrt(area * math.exp(sign * log_ratio))) for sign in (1, -1))
    # The centre of the view; the photo spans -1 to 1.
    x, y = rng.uniform(width - 1, 1 - width), rng.uniform(height - 1, 1 - height)
    mirrored = rng.random() < AUGMENTATION["mirrored"] and not sided
    return [[-width if mirrored else width, 0.0, x], [0.0, height, y]]
