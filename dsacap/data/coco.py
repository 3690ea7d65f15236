"""Captioned images in COCO's format, split as Karpathy did or at random by a seed; whatever does not fit together is refused."""

import contextlib
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools.coco import COCO

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.photos import PhotoSource

SPLITS = ("train", "val", "test")
_SPLIT_OF = {split: split for split in SPLITS} | {
    "restval": "train"
}  # restval: the rest of val2014, which Karpathy trains on


@dataclass(frozen=True)
class CaptionedImage:
    image_id: int
    file_name: str
    source: str  # key of its folder or zip of photos, such as "train2014"
    split: str  # one of SPLITS
    captions: tuple[str, ...]  # verbatim, by annotation id


@dataclass(frozen=True)
class RandomSplit:
    """`val` and `test` images drawn by `seed`; the rest is train."""

    val: int
    test: int
    seed: int


class Annotated(NamedTuple):
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
    """Loads a captioning data set.

    annotations: COCO's captions_*.json files; if there are none, the captions are the sentences in the Karpathy file (Flickr8k).
    images: the folder or zip of photos of each source. A Karpathy file names the source of an image in "filepath"; where it does
        not, and for a random split, there must be exactly one.
    split: a Karpathy file (dataset_*.json), or a random split, which depends on the image ids and the seed alone.
    expected: the number of images that each split must have; expected_ids: the `hash_of_ids` of each.
    check_photos: whether every image must have its photo; not where captions alone are wanted.

    Returns the images by (split, image_id), and counts for a manifest: the images in each split, their "captions", and "dropped"
    images, which are annotated but in no split. Raises UserError, naming file and id, for input that is not sound.
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
    """The sha256 of image ids in ascending order, one a line: what a split is, whatever file it came from."""
    return hashlib.sha256(
        "".join(f"{image_id}\n" for image_id in sorted(image_ids)).encode()
    ).hexdigest()


def read_captions(paths: Sequence[Path]) -> dict[int, Annotated]:
    """File name and captions of each image id, from COCO's captions_*.json files."""
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
                f"{path}: annotation {caption_id} is for image id {stray[0]}, not among its images; remove it"
            )
        if bare := sorted(coco.imgs.keys() - coco.imgToAnns.keys()):
            raise UserError(
                f"{path}: no captions for image ids {_few(bare)}; caption or remove them"
            )
        for image_id, image in coco.imgs.items():
            captions = sorted(coco.imgToAnns[image_id], key=lambda annotation: annotation["id"])
            annotated[image_id] = Annotated(
                image["file_name"], tuple(annotation["caption"] for annotation in captions)
            )
    return annotated


def read_split(path: Path) -> dict[int, str]:
    """Image id -> split, as a Karpathy file names both; "restval" is left as it is."""
    return {image_id: record["split"] for image_id, record in _read_karpathy(path, {}).items()}


def _read_file(path: Path) -> COCO:
    """COCO's own index of a captions file, after a check of all that is used of it."""
    data = read_json(path)
    for i, image in enumerate(_list(data, "images", path)):
        _field(image, "id", int, f"{path}: images[{i}]")
        _field(image, "file_name", str, f"{path}: image {image['id']}")
    for i, annotation in enumerate(_list(data, "annotations", path)):
        _field(annotation, "id", int, f"{path}: annotations[{i}]")
        _field(annotation, "image_id", int, f"{path}: annotation {annotation['id']}")
        _caption(annotation, "caption", f"{path}: annotation {annotation['id']}")
    coco = COCO()
    coco.dataset = {
        "images": data["images"],
        "annotations": data["annotations"],
    }  # "categories" would make it expect boxes
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _read_karpathy(path: Path, annotated: dict[int, Annotated]) -> dict[int, dict[str, Any]]:
    """The records of a Karpathy file by image id: that of `annotated`, unless it is empty."""
    ids = defaultdict(list)
    for image_id, image in annotated.items():
        ids[image.file_name].append(image_id)
    records: dict[int, dict[str, Any]] = {}
    absent = []
    for i, record in enumerate(_list(read_json(path), "images", path)):
        name = _field(record, "filename", str, f"{path}: images[{i}]")
        _check_record(record, f"{path}: {name}")
        image_id = _image_id(record, ids, f"{path}: {name}")
        if image_id in records:
            splits = f"{records[image_id]['split']!r} and {record['split']!r}"
            raise UserError(
                f"{path}: image {image_id} ({name}) occurs twice, in {splits}; remove one"
            )
        if annotated and image_id not in annotated:
            absent.append(name)
        elif annotated and annotated[image_id].file_name != name:
            other = annotated[image_id].file_name
            raise UserError(
                f"{path}: image {image_id} is {name}, in the annotations {other}; give those the split was made for"
            )
        else:
            records[image_id] = record
    if absent:
        raise UserError(
            f"{path}: names images that are not in the annotations: {_few(absent)}; give the annotation files that have them"
        )
    return records


def _check_record(record: dict[str, Any], where: str) -> None:
    if _field(record, "split", str, where) not in _SPLIT_OF:
        raise UserError(
            f"{where}: unknown split {record['split']!r}; it must be one of {', '.join(_SPLIT_OF)}"
        )
    if record.get("filepath") is not None:
        _field(record, "filepath", str, where)


def _image_id(record: dict[str, Any], ids: Mapping[str, list[int]], where: str) -> int | None:
    """The record's own id, or where it has none the annotated one of its file name; None if there is no such file."""
    if record.get("cocoid") is not None:
        return _field(record, "cocoid", int, where)
    if not ids:
        return _field(record, "imgid", int, where)  # without annotations any numbering will do
    match ids.get(record["filename"], []):
        case []:
            return None
        case [image_id]:
            return image_id
        case several:
            raise UserError(
                f"{where}: the annotations give this file name to image ids {_few(several)}; add 'cocoid' to tell which"
            )


def _own_captions(record: dict[str, Any], path: Path) -> Annotated:
    name = record["filename"]
    sentences = _list(record, "sentences", f"{path}: {name}")
    return Annotated(
        name, tuple(_caption(sentence, "raw", f"{path}: {name}") for sentence in sentences)
    )


def _draw(image_ids: Collection[int], split: RandomSplit) -> dict[int, str]:
    """The split of each image id. Ids are ordered by hash, not by a generator, whose stream may change between NumPy releases."""
    if min(split.val, split.test) < 1 or split.val + split.test >= len(image_ids):
        raise UserError(
            f"{split} of {len(image_ids)} annotated images: val, test and the rest, train, need at least one each"
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
            f"{split}: does not say which of the sources ({_few(sorted(images))}) an image is in; give exactly one source"
        )
    return next(iter(images))


def _check_unique(ids: Collection[int], origin: dict[int, Path], path: Path, what: str) -> None:
    """Refuses an id met before, and notes in `origin` the file of each."""
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
                f"{split}: {counts.get(name, 0)} images in split {name!r}, expected {count}; is this the right split file?"
            )


def _check_ids(
    loaded: Collection[CaptionedImage], expected: Mapping[str, str], split: Path | RandomSplit
) -> None:
    for name, digest in expected.items():
        if (
            found := hash_of_ids(image.image_id for image in loaded if image.split == name)
        ) != digest:
            raise UserError(
                f"{split}: the image ids of split {name!r} have sha256 {found}, expected {digest}; is it the right split?"
            )


def _check_photos(
    loaded: Collection[CaptionedImage], images: Mapping[str, Path], split: Path | RandomSplit
) -> None:
    """Every image must have a photo of its own in its source."""
    sources = sorted({image.source for image in loaded})
    if unknown := [source for source in sources if source not in images]:
        raise UserError(
            f"{split}: no photos given for {_few(unknown)}; give a folder or zip for each source that it names"
        )
    places = Counter((image.source, image.file_name) for image in loaded)
    if repeated := sorted(
        f"{source}/{name}" for (source, name), count in places.items() if count > 1
    ):
        raise UserError(
            f"{split}: several image ids share a photo: {_few(repeated)}; each image needs its own"
        )
    for source in sources:
        names = PhotoSource(images[source]).names()
        if absent := sorted(
            image.file_name
            for image in loaded
            if image.source == source and image.file_name not in names
        ):
            raise UserError(
                f"{images[source]}: photos of source {source!r} are absent: {_few(absent)}; fetch them"
            )


def _list(record: Any, key: str, where: Path | str) -> list[Any]:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, list) or not value:
        raise UserError(
            f"{where}: needs a list {key!r}, not empty, as in COCO's captions_*.json or Karpathy's dataset_*.json"
        )
    return value


def _field(record: Any, key: str, kind: type, where: str) -> Any:
    value = record.get(key) if isinstance(record, dict) else None
    if type(value) is not kind:  # a bool is an int to isinstance
        raise UserError(f"{where}: {key!r} must be {kind.__name__}, not {value!r}; mend it")
    return value


def _caption(record: Any, key: str, where: str) -> str:
    caption = _field(record, key, str, where)
    if not caption.strip():
        raise UserError(f"{where}: empty caption; write or remove it")
    return caption


def _few(items: Sequence[Any]) -> str:
    """The first five, and how many there are if more."""
    return ", ".join(map(str, items[:5])) + (
        f", ... ({len(items)} in all)" if len(items) > 5 else ""
    )
