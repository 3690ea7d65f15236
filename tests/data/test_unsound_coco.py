"""Unsound data sets in the form of COCO are refused with the place of the fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from small_coco import Coco, captions_file, karpathy_record


def set_caption(caption) -> Callable[[Coco], None]:
    return lambda coco: coco.train["annotations"][0].update(caption=caption)


def change_record(**changes) -> Callable[[Coco], None]:
    return lambda coco: coco.karpathy["images"][0].update(changes)


TRAIN, SPLIT = r"captions_train2014\.json: ", r"dataset_coco\.json: "


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: setattr(c, "train", []), TRAIN + "needs a list 'images'"),
        (lambda c: c.train.pop("images"), TRAIN + "needs a list 'images'"),
        (lambda c: c.train.update(images=[]), TRAIN + "needs a list 'images', not empty"),
        (lambda c: c.train.pop("annotations"), TRAIN + "needs a list 'annotations'"),
        (
            lambda c: c.train.update(annotations={"1": "a dog"}),
            TRAIN + "needs a list 'annotations'",
        ),
        (lambda c: c.train["images"].append("x.jpg"), TRAIN + r"images\[4\]: 'id' must be int"),
        (
            lambda c: c.train["images"][1].update(id="2"),
            TRAIN + r"images\[1\]: 'id' must be int, not '2'",
        ),
        (
            lambda c: c.train["images"][1].update(id=True),
            TRAIN + r"images\[1\]: 'id' must be int, not True",
        ),
        (
            lambda c: c.train["images"][1].pop("file_name"),
            TRAIN + "image 2: 'file_name' must be str",
        ),
        (
            lambda c: c.train["annotations"][0].pop("id"),
            TRAIN + r"annotations\[0\]: 'id' must be int",
        ),
        (
            lambda c: c.train["annotations"][0].update(image_id=[1]),
            TRAIN + r"annotation 11: 'image_id' must be int",
        ),
        (set_caption(None), TRAIN + "annotation 11: 'caption' must be str, not None"),
        (set_caption(["a", "dog"]), TRAIN + "annotation 11: 'caption' must be str"),
        (set_caption(""), TRAIN + "annotation 11: empty caption"),
        (set_caption(" \n"), TRAIN + "annotation 11: empty caption"),
        (lambda c: c.train["images"][1].update(id=1), TRAIN + "image id 1 occurs twice"),
        (
            lambda c: c.train["annotations"][1].update(id=11),
            TRAIN + "annotation id 11 occurs twice",
        ),
        (
            lambda c: setattr(c, "val", c.train),
            r"val2014\.json: image id 1 occurs twice, first in .*" + TRAIN[:-2],
        ),
        (
            lambda c: c.train["annotations"][0].update(image_id=99),
            TRAIN + "annotation 11 is for image id 99, which is not among",
        ),
        (
            lambda c: c.train.update(annotations=c.train["annotations"][2:]),
            TRAIN + "no captions for image ids 1;",
        ),
        (
            lambda c: [i.update(file_name="same.jpg") for i in c.train["images"][:2]],
            SPLIT + r"image 1 is train2014_1\.jpg.*same\.jpg",
        ),
        (lambda c: c.karpathy.pop("images"), SPLIT + "needs a list 'images'"),
        (lambda c: c.karpathy["images"].append(3), SPLIT + r"images\[7\]: 'filename' must be str"),
        (
            change_record(split="dev"),
            SPLIT + r"train2014_1\.jpg: unknown split 'dev'; .*train, val, test, restval",
        ),
        (change_record(split=["train"]), SPLIT + r"train2014_1\.jpg: 'split' must be str"),
        (
            change_record(filepath=["train2014"]),
            SPLIT + r"train2014_1\.jpg: 'filepath' must be str",
        ),
        (change_record(filepath=None), SPLIT + "does not name the source of an image"),
        (change_record(filepath="train2017"), "dataset_coco.json: no photos given for train2017"),
        (change_record(cocoid="1"), SPLIT + r"train2014_1\.jpg: 'cocoid' must be int"),
        (
            change_record(cocoid=99),
            SPLIT + r"names images that are not in the annotations: train2014_1\.jpg;",
        ),
        (
            change_record(cocoid=None, filename="x.jpg"),
            SPLIT + r"names images that are not in the annotations: x\.jpg;",
        ),
        (
            lambda c: c.karpathy["images"].append(karpathy_record(6, "val2014", "train")),
            r"image 6 .* twice, in 'val' and 'train'",
        ),
        (
            lambda c: c.karpathy["images"].append(karpathy_record(6, "val2014", "val")),
            r"image 6 .* twice, in 'val' and 'val'",
        ),
        (lambda c: c.karpathy["images"].pop(), SPLIT + "no images in split 'test'"),
        (
            lambda c: (c.folder / "train2014" / "train2014_3.jpg").unlink(),
            r"train2014' are absent: train2014_3\.jpg;",
        ),
    ],
)
def test_unsound_input_is_refused(coco, spoil, message):
    spoil(coco)
    with pytest.raises(UserError, match=message):
        coco.load()


def test_images_must_not_share_a_photo(coco):
    coco.train["images"][1]["file_name"] = coco.karpathy["images"][1]["filename"] = (
        "train2014_1.jpg"
    )
    with pytest.raises(UserError, match=r"share a photo: train2014/train2014_1\.jpg"):
        coco.load()


def test_an_ambiguous_file_name_is_refused(coco):
    coco.train["images"][1]["file_name"] = "train2014_1.jpg"
    coco.karpathy["images"][0]["cocoid"] = None
    with pytest.raises(UserError, match=r"train2014_1\.jpg: .*image ids 1, 2"):
        coco.load()


def test_all_absent_photos_are_reported_together(coco):
    (coco.folder / "other").mkdir()
    (coco.folder / "other" / "x.jpg").touch()
    coco.train = captions_file(range(1, 5), "val2014")
    coco.karpathy["images"][:4] = [karpathy_record(i, "val2014", "train") for i in range(1, 5)]
    with pytest.raises(
        UserError, match=r"other: .* val2014_1\.jpg, (val2014_\d\.jpg, ){4}\.\.\. \(7 in all\)"
    ):
        coco.load(images={"val2014": coco.folder / "other"})


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": [Path("nowhere/captions.json")]},
        {"split": Path("nowhere/dataset_coco.json")},
        {"images": {"train2014": Path("nowhere"), "val2014": Path("nowhere")}},
    ],
)
def test_missing_files_are_named(coco, changes):
    with pytest.raises(UserError, match=r"nowhere.*: no such"):
        coco.load(**changes)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (None, "needs a list 'sentences'"),
        ([], "needs a list 'sentences', not empty"),
        ([{"raw": " "}], "empty caption"),
        ([{"tokens": ["a"]}], "'raw' must be str"),
        (["a dog"], "'raw' must be str"),
    ],
)
def test_own_captions_of_a_karpathy_file_are_checked(coco, sentences, message):
    coco.karpathy["images"][3]["sentences"] = sentences
    with pytest.raises(UserError, match=rf"{SPLIT}train2014_4\.jpg: {message}"):
        coco.load(annotations=[])


def test_own_captions_need_an_id(coco):
    coco.karpathy["images"][3]["cocoid"] = None
    with pytest.raises(UserError, match=r"train2014_4\.jpg: 'imgid' must be int"):
        coco.load(annotations=[])
