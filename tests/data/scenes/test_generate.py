import contextlib
import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dsacap.common.files import read_json, sha256
from dsacap.data.scenes.generate import (
    SIDE,
    generate,
    render,
    sample_scene,
    scene_from_json,
    scene_to_json,
)
from dsacap.data.scenes.grammar import Mention, Scene, Thing, describe, is_true, parse


def words(caption: str) -> str:
    """Return the caption of a scene as the PTB tokeniser would."""
    return " ".join(re.sub(r"[.,]", " ", caption.lower()).split())


def scenes_and_captions(count: int):
    for i in range(count):
        rng = np.random.default_rng([0, i])
        scene = sample_scene(rng)
        yield scene, describe(scene, rng)


def test_every_reference_parses_and_is_true():
    for scene, caption in scenes_and_captions(3000):
        description = parse(words(caption))
        assert description is not None, caption
        assert is_true(description, scene), (caption, scene)


def test_references_are_mostly_false_for_other_scenes():
    pairs = list(scenes_and_captions(400))
    others = [
        is_true(parse(words(caption)), pairs[i - 1][0]) for i, (_, caption) in enumerate(pairs)
    ]
    assert sum(others) < 4


def test_no_single_template_covers_the_captions():
    """Without attributes no structure may dominate, or a captioner could win by using only it."""
    shapes = re.compile(
        r"\b(circle|disc|square|box|triangle|cross|plus|ring|hoop|bar|stripe)(e?s)?\b"
    )
    plain = re.compile(
        r"\b(red|green|blue|yellow|purple|violet|orange|big|large|small|tiny|white|grey|black|brown)\b"
    )
    counts: dict[str, int] = {}
    for _, caption in scenes_and_captions(1000):
        template = " ".join(plain.sub("", shapes.sub("N", words(caption))).split())
        counts[template] = counts.get(template, 0) + 1
    assert max(counts.values()) < 150 and len(counts) > 100


SCENE = Scene(
    "grey",
    (
        Thing("circle", "red", "large", (0, 0)),
        Thing("square", "blue", "small", (1, 1)),
        Thing("circle", "red", "small", (1, 0)),
    ),
)


@pytest.mark.parametrize(
    ("caption", "true"),
    [
        ("a red circle", True),
        ("a red disc and a blue box on a grey background", True),
        ("two red circles on the left and a blue square", True),
        ("there are two red circles", True),
        (
            "a picture of a small red circle at the bottom and a big red circle in the top left",
            True,
        ),
        ("a red circle above a blue square", True),
        ("a large red circle above a red circle and a small square", True),
        ("a green circle", False),
        ("a large blue square", False),
        ("a red circle on a white background", False),
        ("three red circles", False),
        ("a red circle a red circle and a red circle", False),  # the scene has only two
        ("two red circles at the top", False),
        ("a blue square above a red circle", False),
        ("a small red circle above a blue square", False),  # the small one is at the same height
        ("a red circle and a blue square in the top right", False),
    ],
)
def test_truth(caption, true):
    description = parse(caption)
    assert description is not None
    assert is_true(description, SCENE) is true


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "red circle",
        "a red circle a blue square",  # "and" is missing
        "a red circle and",
        "a red circle and and a blue square",
        "a red circle and a blue square a ring",
        "two red circle",
        "a red circles",
        "there is two red circles",
        "there are a red circle",
        "a orange circle",
        "an red circle",
        "an big orange circle",
        "a circle red",
        "a red circle above",
        "a red circle on a",
        "a red circle on a grey",
        "a red circle on a red background",
        "a red circle on a grey background on a grey background",
        "a yellow white white white",
    ],
)
def test_ungrammatical(caption):
    assert parse(caption) is None


def test_mentions_fit_by_the_attributes_they_name():
    thing = Thing("ring", "green", "small", (0, 1))
    assert Mention("ring").fits(thing) and Mention("ring", size="small", place="on the right").fits(
        thing
    )
    assert not Mention("bar").fits(thing) and not Mention("ring", place="at the bottom").fits(thing)


def test_pictures_show_their_things():
    """Colours are in the quadrants of their things, and empty quadrants have none."""
    picture = render(SCENE, np.random.default_rng(0)).astype(int)
    assert picture.shape == (SIDE, SIDE, 3)
    red = (picture[..., 0] - picture[..., 1] > 100).reshape(2, 32, 2, 32).sum((1, 3))
    blue = (picture[..., 2] - picture[..., 0] > 100).reshape(2, 32, 2, 32).sum((1, 3))
    assert red[0, 0] > 2 * red[1, 0] > 0 and red[0, 1] == red[1, 1] == 0
    assert blue[1, 1] > 0 and blue.sum() == blue[1, 1]


def test_generation_is_repeatable_and_can_grow(tmp_path):
    generate(tmp_path / "a", {"train": 5, "val": 3, "test": 3}, seed=1)
    generate(tmp_path / "b", {"train": 5, "val": 3, "test": 3}, seed=1)
    generate(tmp_path / "c", {"train": 6, "val": 3, "test": 3}, seed=1)
    generate(tmp_path / "d", {"train": 5, "val": 3, "test": 3}, seed=2)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 8
    assert all(sha256(tmp_path / "a" / f) == sha256(tmp_path / "b" / f) for f in files)
    assert sha256(tmp_path / "a/images/train.zip") != sha256(tmp_path / "d/images/train.zip")
    small, large = (zipfile.ZipFile(tmp_path / x / "images/train.zip") for x in "ac")
    assert all(small.read(name) == large.read(name) for name in small.namelist())


def test_format_is_coco(tmp_path):
    generate(tmp_path, {"train": 4, "val": 2, "test": 2}, seed=0)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "annotations/captions_train.json")
    truth = read_json(tmp_path / "scenes.json")
    archive = zipfile.ZipFile(tmp_path / "images/train.zip")
    for image in coco.loadImgs(coco.getImgIds()):
        captions = [a["caption"] for a in coco.loadAnns(coco.getAnnIds(image["id"]))]
        scene = scene_from_json(truth[str(image["id"])])
        assert len(captions) == 5 and all(is_true(parse(words(c)), scene) for c in captions)
        assert scene_from_json(scene_to_json(scene)) == scene
        assert Image.open(archive.open(image["file_name"])).size == (
            image["width"],
            image["height"],
        )
    karpathy = read_json(tmp_path / "dataset_scenes.json")["images"]
    assert [r["split"] for r in karpathy] == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
