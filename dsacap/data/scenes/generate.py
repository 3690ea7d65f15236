"""The embedded data set: generated 64x64 pictures of coloured shapes, five captions each.

It is written in COCO's own format. A scene has two to four things, at most one in each 32x32
quadrant, so that places and relations are exact. The version is part of the data key: a change here
that changes a byte of the data needs a new `VERSION`, and all tables have to be made again.
"""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from dsacap.common.files import read_json, replacing, write_json
from dsacap.common.progress import progress
from dsacap.data.scenes.grammar import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, Thing, describe

VERSION = "1.0"
SIDE = 64  # pixels
REFERENCES = 5  # captions of an image
SPLITS = ("train", "val", "test")

_RGB = {
    "red": (214, 40, 40),
    "green": (45, 160, 60),
    "blue": (45, 85, 215),
    "yellow": (240, 215, 60),
    "purple": (140, 60, 180),
    "orange": (245, 140, 35),
    "white": (240, 240, 240),
    "grey": (140, 140, 145),
    "black": (25, 25, 28),
    "brown": (105, 70, 45),
}
_RADIUS = {"large": 12.0, "small": 6.5}  # pixels


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene of two to four things in different quadrants.

    A quarter of the things have the shape and colour of the one before.
    """
    quadrants = rng.permutation(4)[: 2 + np.searchsorted((0.4, 0.8), rng.random())]
    things: list[Thing] = []
    for quadrant in quadrants:
        if things and rng.random() < 0.25:
            shape, colour = things[-1].shape, things[-1].colour
        else:
            shape, colour = _one_of(SHAPES, rng), _one_of(COLOURS, rng)
        things.append(
            Thing(shape, colour, _one_of(SIZES, rng), (int(quadrant) // 2, int(quadrant) % 2))
        )
    return Scene(_one_of(BACKGROUNDS, rng), tuple(things))


def _one_of(names: Iterable[str], rng: np.random.Generator) -> str:
    names = tuple(names)
    return names[rng.integers(len(names))]


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw a picture of a scene.

    Args:
        scene: The scene.
        rng: The generator of the jitter in place, size, colour and light, and of sensor noise.

    Returns:
        An anti-aliased RGB picture, uint8 `(SIDE, SIDE, 3)`.
    """
    ys, xs = np.arange(SIDE)[:, None] + 0.5, np.arange(SIDE)[None] + 0.5
    image = np.broadcast_to(np.array(_RGB[scene.background], np.float64), (SIDE, SIDE, 3)).copy()
    for thing in scene.things:
        radius = _RADIUS[thing.size] * rng.uniform(0.9, 1.1)
        room = SIDE / 4 - radius - 1
        centre = np.array(thing.quadrant) * SIDE / 2 + SIDE / 4 + rng.uniform(-room, room, 2)
        coverage = np.clip(
            0.5 - _signed_distance(thing.shape, xs - centre[1], ys - centre[0], radius), 0, 1
        )[..., None]
        image += (np.array(_RGB[thing.colour]) + rng.normal(0, 8, 3) - image) * coverage
    light = (
        1
        + 0.12 * rng.uniform(-1, 1) * (xs / SIDE - 0.5)
        + 0.12 * rng.uniform(-1, 1) * (ys / SIDE - 0.5)
    )
    noise = rng.normal(0, 3, (SIDE, SIDE, 1))
    return np.clip(image * light[..., None] + noise, 0, 255).round().astype(np.uint8)


def _signed_distance(shape: str, x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Return the distance in pixels to the outline of a shape around the origin, negative inside.

    `r` is the radius of the shape; y points down.
    """
    ax, ay = np.abs(x), np.abs(y)
    match shape:
        case "circle":
            return np.hypot(x, y) - r
        case "square":
            return np.maximum(ax, ay) - 0.85 * r
        case "triangle":
            return np.maximum(0.866 * ax - 0.5 * (y - 0.25 * r), y - 0.25 * r) - 0.5 * r
        case "cross":
            return np.maximum(np.minimum(ax, ay) - 0.3 * r, np.maximum(ax, ay) - r)
        case "ring":
            return np.abs(np.hypot(x, y) - 0.75 * r) - 0.25 * r
        case "bar":
            return np.maximum(ax - r, ay - 0.35 * r)
    raise ValueError(f"unknown shape {shape!r}")


def generate(folder: Path, sizes: dict[str, int], seed: int) -> None:
    """Write the data set.

    Every image has a generator of its own, keyed by (seed, image id), so that a split keeps its
    images when another one grows. Pictures are in one archive a split, as COCO ships them: 13,000
    small files would take twice as long to write.

    Args:
        folder: Where to write images/<split>.zip, annotations/captions_<split>.json,
            dataset_scenes.json (a split file in Karpathy's format) and scenes.json (the scene of
            each image id).
        sizes: The number of images in each split.
        seed: The seed of the data set.
    """
    karpathy, truth = [], {}
    for s, split in enumerate(SPLITS):
        images, annotations = [], []
        with (
            replacing(folder / "images" / f"{split}.zip") as temporary,
            zipfile.ZipFile(temporary, "w") as archive,
        ):
            for i in progress(range(sizes[split]), f"draw {split}", "image"):
                image_id, first_sentence = (
                    (s + 1) * 1_000_000 + i,
                    (s + 1) * 10_000_000 + i * REFERENCES,
                )
                rng = np.random.default_rng([seed, image_id])
                scene = sample_scene(rng)
                name = f"scene_{image_id:07d}.png"
                # The fixed date of a ZipInfo keeps the bytes the same.
                archive.writestr(zipfile.ZipInfo(name), _png(render(scene, rng)))
                captions = [describe(scene, rng) for _ in range(REFERENCES)]
                images.append(
                    {"id": image_id, "file_name": name, "width": SIDE, "height": SIDE, "license": 1}
                )
                annotations += [
                    {"id": first_sentence + k, "image_id": image_id, "caption": c}
                    for k, c in enumerate(captions)
                ]
                sentences = [
                    {"raw": c, "imgid": image_id, "sentid": first_sentence + k}
                    for k, c in enumerate(captions)
                ]
                karpathy.append(
                    {
                        "filename": name,
                        "filepath": split,
                        "cocoid": image_id,
                        "split": split,
                        "sentences": sentences,
                    }
                )
                truth[image_id] = scene_to_json(scene)
        header = {
            "info": {"description": "scenes", "version": VERSION, "seed": seed},
            "licenses": [
                {
                    "id": 1,
                    "name": "CC0 1.0",
                    "url": "https://creativecommons.org/publicdomain/zero/1.0/",
                }
            ],
        }
        write_json(
            folder / "annotations" / f"captions_{split}.json",
            {**header, "images": images, "annotations": annotations},
        )
    write_json(folder / "dataset_scenes.json", {"dataset": "scenes", "images": karpathy})
    write_json(folder / "scenes.json", truth)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def scene_to_json(scene: Scene) -> dict:
    """Return the form of a scene in scenes.json."""
    return {
        "background": scene.background,
        "things": [[t.shape, t.colour, t.size, *t.quadrant] for t in scene.things],
    }


def load_scenes(folder: Path) -> dict[int, Scene]:
    """Return the scene of each image id in a data set that `generate` wrote."""
    return {
        int(image_id): scene_from_json(scene)
        for image_id, scene in read_json(folder / "scenes.json").items()
    }


def scene_from_json(data: dict) -> Scene:
    """Return the scene that `scene_to_json` encoded."""
    return Scene(
        data["background"],
        tuple(Thing(s, c, z, (row, column)) for s, c, z, row, column in data["things"]),
    )
