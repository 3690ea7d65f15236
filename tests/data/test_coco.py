import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.coco import CaptionedImage, RandomSplit, load_coco
from dsacap.data.scenes import generate as scenes


def captions_file(ids: range, year: str) -> dict:
    """Return an annotation file with two captions an image, the larger annotation id first."""
    images = [{"id": i, "file_name": f"{year}_{i}.jpg"} for i in ids]
    return {
        "images": images,
        "annotations": [
            {"id": i * 10 + k, "image_id": i, "caption": f"{k} of {i}"} for i in ids for k in (1, 0)
        ],
    }


def karpathy_record(image_id: int, year: str, split: str) -> dict:
    sentences = [{"raw": f"{k} of {image_id}"} for k in range(2)]
    return {
        "filename": f"{year}_{image_id}.jpg",
        "filepath": year,
        "cocoid": image_id,
        "split": split,
        "sentences": sentences,
    }


@dataclass
class Coco:
    """A small COCO 2014.

    Images 1 to 4 are in train2014; 5 (restval), 6 (val), 7 (test) and 8 (in no split) in val2014.
    """

    folder: Path
    train: dict
    val: dict
    karpathy: dict

    def image_folders(self) -> dict[str, Path]:
        return {"train2014": self.folder / "train2014", "val2014": self.folder / "val2014.zip"}

    def annotations(self) -> list[Path]:
        return [self.folder / "captions_train2014.json", self.folder / "captions_val2014.json"]

    def load(self, **changes) -> tuple[list[CaptionedImage], dict[str, int]]:
        split = self.folder / "dataset_coco.json"
        for path, data in zip(
            [*self.annotations(), split], (self.train, self.val, self.karpathy), strict=True
        ):
            path.write_text(json.dumps(data))
        return load_coco(
            **{"annotations": self.annotations(), "images": self.image_folders(), "split": split}
            | changes
        )


@pytest.fixture
def coco(tmp_path) -> Coco:
    (tmp_path / "train2014").mkdir()
    for i in range(1, 5):
        (tmp_path / "train2014" / f"train2014_{i}.jpg").touch()
    with zipfile.ZipFile(tmp_path / "val2014.zip", "w") as archive:
        for i in range(5, 8):  # 8 is in no split and needs no photo
            archive.writestr(f"val2014/val2014_{i}.jpg", b"")
    records = [karpathy_record(i, "train2014", "train") for i in range(1, 5)]
    records += [
        karpathy_record(i, "val2014", split)
        for i, split in ((5, "restval"), (6, "val"), (7, "test"))
    ]
    train, val = captions_file(range(1, 5), "train2014"), captions_file(range(5, 9), "val2014")
    return Coco(tmp_path, train, val, {"images": records, "dataset": "coco"})


def test_karpathy_split(coco):
    images, counts = coco.load()
    assert [(image.split, image.image_id) for image in images] == [
        *[
            ("test", 7),
            ("train", 1),
            ("train", 2),
            ("train", 3),
            ("train", 4),
            ("train", 5),
            ("val", 6),
        ]
    ]
    assert images[0] == CaptionedImage(7, "val2014_7.jpg", "val2014", "test", ("0 of 7", "1 of 7"))
    assert counts == {"train": 5, "val": 1, "test": 1, "captions": 14, "dropped": 1}


def test_order_in_the_files_does_not_matter(coco):
    before = coco.load()
    for records in (
        coco.train["images"],
        coco.train["annotations"],
        coco.val["annotations"],
        coco.karpathy["images"],
    ):
        records.reverse()
    assert coco.load() == before


def test_nothing_is_printed(coco, capsys):
    coco.load()
    assert capsys.readouterr() == ("", "")


def test_a_categories_key_does_no_harm(coco):
    before = coco.load()
    coco.train["categories"] = []
    assert coco.load() == before


@pytest.mark.parametrize("own_captions", [True, False])
def test_flickr8k_form(coco, own_captions):
    """Without cocoid and filepath, images are identified by file name and have one source."""
    coco.karpathy["images"] = [
        {
            **karpathy_record(i, "train2014", split),
            "imgid": i + 100,
            "cocoid": None,
            "filepath": None,
        }
        for i, split in ((1, "train"), (2, "val"), (3, "test"))
    ]
    annotations = [] if own_captions else coco.annotations()[:1]
    images, counts = coco.load(
        annotations=annotations, images={"photos": coco.folder / "train2014"}
    )
    assert [
        (image.image_id - 100 * own_captions, image.file_name, image.source, image.captions)
        for image in images
    ] == [(i, f"train2014_{i}.jpg", "photos", (f"0 of {i}", f"1 of {i}")) for i in (3, 1, 2)]
    assert counts == {
        "train": 1,
        "val": 1,
        "test": 1,
        "captions": 6,
        "dropped": 0 if own_captions else 1,
    }


def draw(coco: Coco, seed: int) -> dict[int, str]:
    split = RandomSplit(val=1, test=1, seed=seed)
    images, counts = coco.load(
        annotations=coco.annotations()[:1],
        images={"train2014": coco.folder / "train2014"},
        split=split,
    )
    assert counts == {"train": 2, "val": 1, "test": 1, "captions": 8, "dropped": 0}
    return {image.image_id: image.split for image in images}


def test_random_split_depends_only_on_seed_and_ids(coco):
    assert draw(coco, 0) == {
        1: "train",
        2: "test",
        3: "train",
        4: "val",
    }  # the same on every machine and in every version
    assert len({tuple(sorted(draw(coco, seed).items())) for seed in range(10)}) > 3
    coco.train["images"].reverse()
    assert draw(coco, 0) == {1: "train", 2: "test", 3: "train", 4: "val"}


@pytest.mark.parametrize(("val", "test"), [(2, 2), (5, 1), (0, 1), (1, 0), (-1, 1)])
def test_random_split_needs_an_image_for_each_part(coco, val, test):
    with pytest.raises(UserError, match=rf"val={val}, test={test}.* of 4 annotated images"):
        coco.load(
            annotations=coco.annotations()[:1],
            split=RandomSplit(val, test, 0),
            images={"train2014": coco.folder / "train2014"},
        )


def test_random_split_needs_one_source(coco):
    with pytest.raises(UserError, match=r"train2014, val2014.*exactly one"):
        coco.load(split=RandomSplit(1, 1, 0))


def test_expected_sizes(coco):
    coco.load(expected={"train": 5, "val": 1, "test": 1})
    with pytest.raises(
        UserError, match=r"dataset_coco\.json: 5 images in split 'train', expected 113287"
    ):
        coco.load(expected={"train": 113287})


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


def test_scenes(tmp_path):
    scenes.generate(tmp_path, {"train": 6, "val": 3, "test": 3}, seed=0)
    files = [tmp_path / "annotations" / f"captions_{split}.json" for split in scenes.SPLITS]
    images, counts = load_coco(
        files,
        {split: tmp_path / "images" / f"{split}.zip" for split in scenes.SPLITS},
        tmp_path / "dataset_scenes.json",
    )
    assert counts == {"train": 6, "val": 3, "test": 3, "captions": 60, "dropped": 0}
    assert all(image.source == image.split for image in images)
    assert {str(image.image_id) for image in images} == set(read_json(tmp_path / "scenes.json"))
    written = {a["id"]: a["caption"] for file in files for a in read_json(file)["annotations"]}
    assert sorted(caption for image in images for caption in image.captions) == sorted(
        written.values()
    )


def test_real_coco_with_a_random_split(real_data):
    images, counts = load_coco(
        [real_data / "photos" / "captions_coco.json"],
        {"coco": real_data / "photos" / "coco_96px.zip"},
        RandomSplit(val=100, test=100, seed=0),
        expected={"train": 638, "val": 100, "test": 100},
    )
    assert counts["captions"] == sum(len(image.captions) for image in images) == 4191
    assert counts["dropped"] == 0


@pytest.mark.parametrize("annotations", [[], ["captions_flickr8k.json"]])
def test_real_flickr8k(real_data, tmp_path, annotations):
    with zipfile.ZipFile(real_data / "photos" / "dataset_flickr8k.zip") as archive:
        archive.extract("dataset_flickr8k.json", tmp_path)
    files = [real_data / "photos" / name for name in annotations]
    images, counts = load_coco(
        files,
        {"flickr8k": real_data / "photos" / "flickr8k_96px.zip"},
        tmp_path / "dataset_flickr8k.json",
    )
    assert counts == {
        "train": 6000,
        "val": 1000,
        "test": 1000,
        "captions": 40000,
        "dropped": 91 if annotations else 0,
    }
    assert {len(image.captions) for image in images} == {5}
