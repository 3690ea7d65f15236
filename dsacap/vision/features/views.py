"""Views of a photo for training: a part of it, cut out at random, and mirrored where its captions allow.

Features that are encoded once show each photo one way only, which costs a captioner that is tuned for long; GRIT (Nguyen et al. 2022)
reports 5 CIDEr. A few views are a cheap part of what end-to-end training sees. Our reading: crops keep three fifths of the photo at least,
since a view that leaves out what captions speak of teaches to invent.
"""

import math
import re

import numpy as np
import torch
from PIL import Image

from dsacap.data.coco import CaptionedImage

AUGMENTATION = {
    "seed": 0,
    "scale": [0.6, 1.0],
    "ratio": [3 / 4, 4 / 3],
    "mirrored": 0.5,
}  # stands in the index of the features
_SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def augmented(
    photo: Image.Image, image: CaptionedImage, view: int, size: tuple[int, int]
) -> Image.Image:
    """View `view` (from 1 on) of `photo`, height and width as in `size`: the same for the same image id and view.

    A photo is never mirrored where one of its captions speaks of left or right.
    """
    from torchvision.transforms import InterpolationMode, RandomResizedCrop  # a second to load
    from torchvision.transforms.functional import hflip, resized_crop

    seed = np.random.SeedSequence([AUGMENTATION["seed"], image.image_id, view]).generate_state(1)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        box = RandomResizedCrop.get_params(photo, AUGMENTATION["scale"], AUGMENTATION["ratio"])
        mirrored = torch.rand(()).item() < AUGMENTATION["mirrored"]
    photo = resized_crop(photo, *box, list(size), InterpolationMode.BICUBIC)
    return hflip(photo) if mirrored and not is_sided(image) else photo


def is_sided(image: CaptionedImage) -> bool:
    """Whether a caption speaks of left or right."""
    return any(_SIDED.search(caption) for caption in image.captions)


def drawn_frame(image_id: int, view: int, sided: bool) -> list[list[float]]:
    """Of view `view` (from 1 on), where in the photo each of its pixels lies, as `torch.nn.functional.affine_grid` wants it (2 x 3): such
    a part as `augmented` cuts out, for pixels that are in memory."""
    rng = np.random.default_rng([AUGMENTATION["seed"], image_id, view])
    area, log_ratio = (
        rng.uniform(*AUGMENTATION["scale"]),
        rng.uniform(*map(math.log, AUGMENTATION["ratio"])),
    )
    width, height = (min(1.0, math.sqrt(area * math.exp(sign * log_ratio))) for sign in (1, -1))
    x, y = (
        rng.uniform(width - 1, 1 - width),
        rng.uniform(height - 1, 1 - height),
    )  # of its middle; the photo is from -1 to 1
    mirrored = rng.random() < AUGMENTATION["mirrored"] and not sided
    return [[-width if mirrored else width, 0.0, x], [0.0, height, y]]
