"""Captioned images in COCO's format, with a Karpathy split or a random one by seed.

Files that are inconsistent, in themselves or with each other, are refused.
"""

import contextlib
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.json_fields import caption_field, few, list_field, typed_field

SPLITS = ("train", "val", "test")
# restval is the rest of val2014, on which Karpathy trains.
_SPLIT_OF = {split: split for split in SPLITS} | {"restval": "train"}


@dataclass(frozen=True)
class CaptionedImage:
    """An image of a data set and its captions."""

    image_id: int
    file_name: str
    source: str  # key of its folder or zip of photos, such as "train2014"
    split: str  # one of SPLITS
    captions: tuple[str, ...]  # verbatim, in order of annotation id


@dataclass(frozen=True)
class RandomSplit:
    """The sizes of a random split; images that are not drawn are the train split."""

    val: int
    test: int
    seed: int


class Annotated(NamedTuple):
    """An image of an annotation file."""

    file_name: str
    captions: tuple[str, ...]


def load_coco(
    annotations: Sequence[Path],
    images: dict[str, Path],
    split: Path | RandomSplit,
    expected: dict[str, int] | None = None,
    expected_ids: dict[str, str] | None = None,
    check_photos: bool = True,
) -> tuple[list[CaptionedImage], dict[str, int]]:
    """Load a captioning data set.

    Args:
        annotations: COCO's captions_*.json files. If there are none, the captions are the sentences
            in the Karpathy file (Flickr8k).
        images: The folder or zip of photos of each source. A Karpathy file names the source of an
            image in "filepath"; where it does not, and for a random split, there must be just one.
        split: A Karpathy file (dataset_*.json), or a random split, which depends on the image ids
            and the seed alone.
        expected: How many images each split must have.
        expected_ids: The `hash_of_ids` that each split must have.
        check_photos: Whether every image must have its photo; False if only captions are needed.

    Returns:
        The images in order of split and image id, and counts for a manifest: the images in each
        split, their "captions", and "dropped" images, which are annotated but in no split.

    Raises:
        UserError: The input is inconsistent; the message names file and id.
    """
    annotated = read_captions(annotations)
    if isinstance(split, RandomSplit):
        source = _only_source(images, split)
        assigned = {image_id: (name, source) for image_id, name in _draw(annotated, split).items()}
    else:
        records = _read_karpathy(split, annotated)
        annotated = annotated or {
            image_id: _own_captions(record, split) for image_id, record in records.items()
        }
        assigned = {
            image_id: (
                _SPLIT_OF[record["split"]],
                record.get("filepath") or _only_source(images, split),
            )
            for image_id, record in records.items()
        }
    loaded = [
        CaptionedImage(
            image_id, annotated[image_id].file_name, source, name, annotated[image_id].captions
        )
        for image_id, (name, source) in assigned.items()
    ]
    counts = {name: sum(image.split == name for image in loaded) for name in SPLITS}
    _check_sizes(counts, expected or {}, split)
    _check_ids(loaded, expected_ids or {}, split)
    if check_photos:
        _check_photos(loaded, images, split)
    counts |= {
        "captions": sum(len(image.captions) for image in loaded),
        "dropped": len(annotated) - len(loaded),
    }
    return sorted(loaded, key=lambda image: (image.split, image.image_id)), counts


def hash_of_ids(image_ids: Iterable[int]) -> str:
    """Return a hash that identifies a split, whatever file it came from.

    It is the sha256 of the image ids in ascending order, one a line.
    """
    return hashlib.sha256(
        "".join(f"{image_id}\n" for image_id in sorted(image_ids)).encode()
    ).hexdigest()


def read_captions(paths: Sequence[Path]) -> dict[int, Annotated]:
    """Read COCO's captions_*.json files.

    Args:
        paths: The files. No image and no annotation may occur in two of them.

    Returns:
        The file name and captions of each image id.

    Raises:
        UserError: A file is malformed or inconsistent.
    """
    annotated: dict[int, Annotated] = {}
    image_origin: dict[int, Path] = {}
    caption_origin: dict[int, Path] = {}
    for path in paths:
        coco = _read_file(path)
        _check_unique(
            [image["id"] for image in coco.dataset["images"]], image_origin, path, "image"
        )
        _check_unique(
            [annotation["id"] for annotation in coco.dataset["annotations"]],
            caption_origin,
            path,
            "annotation",
        )
        if stray := sorted(coco.imgToAnns.keys() - coco.imgs.keys()):
            caption_id = coco.imgToAnns[stray[0]][0]["id"]
            raise UserError(
                f"{path}: annotation {caption_id} is for image id {stray[0]},"
                " which is not among the images of this file; remove it"
            )
        if bare := sorted(coco.imgs.keys() - coco.imgToAnns.keys()):
            raise UserError(
                f"{path}: no captions for image ids {few(bare)}; add captions or remove the images"
            )
        for image_id, image in coco.imgs.items():
            captions = sorted(coco.imgToAnns[image_id], key=lambda annotation: annotation["id"])
            annotated[image_id] = Annotated(
                image["file_name"], tuple(annotation["caption"] for annotation in captions)
            )
    return annotated


def read_split(path: Path) -> dict[int, str]:
    """Return the split of each image id in a Karpathy file, with "restval" as it is."""
    return {image_id: record["split"] for image_id, record in _read_karpathy(path, {}).items()}


def _read_file(path: Path) -> Any:  # a COCO of pycocotools
    """Return pycocotools' index of a captions file, after checking every field that is used."""
    data = read_json(path)
    for i, image in enumerate(list_field(data, "images", path)):
        typed_field(image, "id", int, f"{path}: images[{i}]")
        typed_field(image, "file_name", str, f"{path}: image {image['id']}")
    for i, annotation in enumerate(list_field(data, "annotations", path)):
        typed_field(annotation, "id", int, f"{path}: annotations[{i}]")
        typed_field(annotation, "image_id", int, f"{path}: annotation {annotation['id']}")
        caption_field(annotation, "caption", f"{path}: annotation {annotation['id']}")
    from pycocotools.coco import COCO

    coco = COCO()
    # Without "categories", for which pycocotools would expect boxes.
    coco.dataset = {"images": data["images"], "annotations": data["annotations"]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _read_karpathy(path: Path, annotated: dict[int, Annotated]) -> dict[int, dict[str, Any]]:
    """Return the records of a Karpathy file by image id, checked against the annotations if any."""
    ids = defaultdict(list)
    for annotated_id, image in annotated.items():
        ids[image.file_name].append(annotated_id)
    records: dict[int, dict[str, Any]] = {}
    absent = []
    for i, record in enumerate(list_field(read_json(path), "images", path)):
        name = typed_field(record, "filename", str, f"{path}: images[{i}]")
        _check_record(record, f"{path}: {name}")
        image_id = _image_id(record, ids, f"{path}: {name}")
        if image_id is None or (annotated and image_id not in annotated):
            absent.append(name)
        elif image_id in records:
            splits = f"{records[image_id]['split']!r} and {record['split']!r}"
            raise UserError(
                f"{path}: image {image_id} ({name}) occurs twice, in {splits}; remove one"
            )
        elif annotated and annotated[image_id].file_name != name:
            other = annotated[image_id].file_name
            raise UserError(
                f"{path}: image {image_id} is {name}, but {other} in the annotations;"
                " give the annotations that the split was made for"
            )
        else:
            records[image_id] = record
    if absent:
        raise UserError(
            f"{path}: names images that are not in the annotations: {few(absent)};"
            " give the annotation files that contain them"
        )
    return records


def _check_record(record: dict[str, Any], where: str) -> None:
    if typed_field(record, "split", str, where) not in _SPLIT_OF:
        raise UserError(
            f"{where}: unknown split {record['split']!r}; it must be one of {', '.join(_SPLIT_OF)}"
        )
    if record.get("filepath") is not None:
        typed_field(record, "filepath", str, where)


def _image_id(record: dict[str, Any], ids: Mapping[str, list[int]], where: str) -> int | None:
    """Return the record's own id, or else that of its file name; None if that is not annotated."""
    if record.get("cocoid") is not None:
        return typed_field(record, "cocoid", int, where)
    if not ids:
        return typed_field(record, "imgid", int, where)  # unique, which is enough
    match ids.get(record["filename"], []):
        case []:
            return None
        case [image_id]:
            return image_id
        case several:
            raise UserError(
                f"{where}: the annotations give this file name to image ids {few(several)};"
                " add 'cocoid' to identify the image"
            )


def _own_captions(record: dict[str, Any], path: Path) -> Annotated:
    name = record["filename"]
    sentences = list_field(record, "sentences", f"{path}: {name}")
    return Annotated(
        name, tuple(caption_field(sentence, "raw", f"{path}: {name}") for sentence in sentences)
    )


def _draw(image_ids: Collection[int], split: RandomSplit) -> dict[int, str]:
    """Assign a split to each image id.

    Ids are shuffled by their hashes, since the stream of a generator may change with the release of
    NumPy.
    """
    if min(split.val, split.test) < 1 or split.val + split.test >= len(image_ids):
        raise UserError(
            f"{split} of {len(image_ids)} annotated images: val, test and train (the rest)"
            " need at least one image each"
        )
    shuffled = sorted(
        image_ids, key=lambda image_id: hashlib.sha256(f"{split.seed} {image_id}".encode()).digest()
    )
    names = ["val"] * split.val + ["test"] * split.test
    names += ["train"] * (len(shuffled) - len(names))
    return dict(zip(shuffled, names, strict=True))


def _only_source(images: Mapping[str, Path], split: Path | RandomSplit) -> str:
    if len(images) != 1:
        raise UserError(
            f"{split}: does not name the source of an image ({few(sorted(images))});"
            " give exactly one source"
        )
    return next(iter(images))


def _check_unique(ids: Collection[int], origin: dict[int, Path], path: Path, what: str) -> None:
    """Refuse an id that occurred before, and record in `origin` the file of each."""
    for i in ids:
        if i in origin:
            raise UserError(f"{path}: {what} id {i} occurs twice, first in {origin[i]}; remove one")
        origin[i] = path


def _check_sizes(
    counts: Mapping[str, int], expected: Mapping[str, int], split: Path | RandomSplit
) -> None:
    for name, count in counts.items():
        if count == 0:
            raise UserError(f"{split}: no images in split {name!r}; assign some")
    for name, count in expected.items():
        if counts.get(name) != count:
            raise UserError(
                f"{split}: {counts.get(name, 0)} images in split {name!r}, expected {count};"
                " is this the right split file?"
            )


def _check_ids(
    loaded: Collection[CaptionedImage], expected: Mapping[str, str], split: Path | RandomSplit
) -> None:
    for name, digest in expected.items():
        found = hash_of_ids(image.image_id for image in loaded if image.split == name)
        if found != digest:
            raise UserError(
                f"{split}: the image ids of split {name!r} have sha256 {found}, expected {digest};"
                " is this the right split file?"
            )


def _check_photos(
    loaded: Collection[CaptionedImage], images: Mapping[str, Path], split: Path | RandomSplit
) -> None:
    """Check that every image has a photo of its own in its source."""
    sources = sorted({image.source for image in loaded})
    if unknown := [source for source in sources if source not in images]:
        raise UserError(
            f"{split}: no photos given for {few(unknown)};"
            " give a folder or zip for each source that this file names"
        )
    places = Counter((image.source, image.file_name) for image in loaded)
    if repeated := sorted(
        f"{source}/{name}" for (source, name), count in places.items() if count > 1
    ):
        raise UserError(
            f"{split}: several image ids share a photo: {few(repeated)}; each image needs its own"
        )
    from dsacap.data.photos import PhotoSource  # needs Pillow, which timing does without

    for source in sources:
        names = PhotoSource(images[source]).names()
        needed = sorted(image.file_name for image in loaded if image.source == source)
        if absent := [name for name in needed if name not in names]:
            raise UserError(
                f"{images[source]}: photos of source {source!r} are absent: {few(absent)};"
                " fetch them"
            )
