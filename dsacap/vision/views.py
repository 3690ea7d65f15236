"""Views of a photo for training: a part of it, cut out at random, and mirrored where its captions allow.

Features that are encoded once show each photo one way only, which costs a captioner that is tuned for long; GRIT (Nguyen et al. 2022)
reports 5 CIDEr. A few views are a cheap part of what end-to-end training sees. Our reading: crops keep three fifths of the photo at least,
since a view that leaves out what captions speak of teaches to invent.
"""

import re

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import hflip, resized_crop

from dsacap.data.coco import CaptionedImage

AUGMENTATION = {"seed": 0, "scale": [0.6, 1.0], "ratio": [3 / 4, 4 / 3], "mirrored": 0.5}  # stands in the index of the features
_SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def augmented(photo: Image.Image, image: CaptionedImage, view: int, size: tuple[int, int]) -> Image.Image:
    """View `view` (from 1 on) of `photo`, height and width as in `size`: the same for the same image id and view.

    A photo is never mirrored where one of its captions speaks of left or right.
    """
    seed = np.random.SeedSequence([AUGMENTATION["seed"], image.image_id, view]).generate_state(1)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        box = RandomResizedCrop.get_params(photo, AUGMENTATION["scale"], AUGMENTATION["ratio"])
        mirrored = torch.rand(()).item() < AUGMENTATION["mirrored"]
    photo = resized_crop(photo, *box, list(size), InterpolationMode.BICUBIC)
    return hflip(photo) if mirrored and not any(_SIDED.search(caption) for caption in image.captions) else photo
