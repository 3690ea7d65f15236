"""Data sets in the form of COCO are read, with Karpathy's splits or random ones."""

import zipfile

import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.coco import CaptionedImage, RandomSplit, load_coco
from dsacap.data.scenes import generate as scenes
from small_coco import Coco, karpathy_record


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
