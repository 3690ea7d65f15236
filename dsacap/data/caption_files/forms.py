"""The forms in which data sets and tools write captions."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.printable import counted
from dsacap.data.caption_files.document import Document
from dsacap.data.caption_files.ids import ImageId, image_id, shown, whole_text
from dsacap.data.caption_files.records import (
    CAPTION_KEYS,
    ID_KEYS,
    Records,
    captions_at,
    is_record,
    items_of,
    records_of,
)


@dataclass
class Captions:
    """The captions of a file.

    Attributes:
        name: The name of the file, for messages.
        form: What the file is, in words.
        by_image: The captions of each image, in the order of the file.
        file_names: The name of each image's photo, where the file has it.
        groups: The group of each image, such as a domain of nocaps, where the file has it.
        parts: The number of images of each split or decoding, if the file has several, of which
            none was chosen.
        notes: What was left out or done that the user may not expect.
        sha256: The hash of the file.
    """

    name: str
    form: str
    by_image: dict[ImageId, list[str]]
    file_names: dict[ImageId, str] = field(default_factory=dict)
    groups: dict[ImageId, str] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    sha256: str = ""


def captions_of(document: Document, form: str | None = None, part: str | None = None) -> Captions:
    """Read the captions of a document.

    Args:
        document: The parsed file.
        form: Its form, one of `FORMS`; None to find it out from its content.
        part: The split that is read of a file of Karpathy's, or the decoding of a run's captions;
            None for all of them.

    Raises:
        UserError: The document is malformed, or not of that form.
    """
    if form is None and (key := _key_of_results(document)):
        note = f"{document.name}: of its keys, {key[:80]!r} is read, which has the captions"
        notes = (*document.notes, note)
        document = replace(document, value=document.value[key], notes=notes)
    form = form or _form_of(document)
    if form == "coco-results" and isinstance(document.value, dict):  # one line of JSON
        document = replace(document, value=[document.value])
    found = FORMS[form](document, part)
    found.notes = [*document.notes, *found.notes]
    if not found.by_image:
        raise UserError(f"{document.name}: has no captions")
    return found


def captions_of_mapping(captions: Mapping[Any, Any], name: str) -> Captions:
    """Return captions that are given as a dictionary: image id -> a caption, or several.

    Args:
        captions: The dictionary.
        name: What it is called in messages.

    Raises:
        UserError: An id or a caption is of a wrong type, or there are no captions.
    """
    found = _gathered(name, "a dictionary", items_of(captions, name))
    if not found.by_image:
        raise UserError(f"{name}: has no captions")
    return found


def _key_of_results(document: Document) -> str | None:
    """Return the one key of an object under which a tool put its list of results.

    Dictionaries by id have such lists too, as COCO's `imgToAnns`; there the key is the image.
    """
    if document.kind != "json" or not isinstance(document.value, dict):
        return None
    if _form_of(document) not in ("dictionary", "textcaps"):
        return None
    keys = [key for key, records in document.value.items() if _are_results(key, records)]
    return keys[0] if len(keys) == 1 else None


def _are_results(key: str, records: Any) -> bool:
    first = records[0] if isinstance(records, list) and records else None
    if not isinstance(first, dict) or not first.keys() & set(CAPTION_KEYS):
        return False
    ids = [str(first[name]) for name in ID_KEYS if name in first]
    return bool(ids) and key not in ids


def _form_of(document: Document) -> str:
    value = document.value
    if document.kind != "json":
        return document.kind
    if isinstance(value, list):
        return "coco-results"
    if isinstance(value, dict):
        for key, form in (
            ("imgToEval", "coco-eval"),
            ("annotations", "coco-annotations"),
            ("images", "karpathy"),
            ("data", "textcaps"),
        ):
            if isinstance(value.get(key), list | dict):
                return form
        if is_record(value):  # one line of JSON
            return "coco-results"
        first = next(iter(value.values()), None)
        is_run = isinstance(first, dict) and any(isinstance(one, list) for one in first.values())
        return "run" if is_run else "dictionary"
    raise UserError(f"{document.name}: must be a JSON list or object, not {type(value).__name__}")


def _gathered(name: str, form: str, records: Records, **more: Any) -> Captions:
    by_image: dict[ImageId, list[str]] = {}
    for key, captions in records:
        by_image.setdefault(key, []).extend(captions)
    return Captions(name, form, by_image, **more)


def _results(document: Document, part: str | None) -> Captions:
    """A list of {"image_id": ..., "caption": ...}, as of COCO's server, LAVIS and many tools."""
    kinds = {"json": "COCO results", "jsonl": "lines of JSON", "flickr8k-tokens": "Flickr8k tokens"}
    form = kinds.get(document.kind, document.kind.upper())
    if not isinstance(document.value, list):
        raise UserError(f'{document.name}: must be a list of {{"image_id": ..., "caption": ...}}')
    _no_parts(document, part)
    return _gathered(document.name, form, records_of(document))


def _dictionary(document: Document, part: str | None) -> Captions:
    """An object from image id to a caption, or to a list of captions."""
    _no_parts(document, part)
    return captions_of_mapping(_object(document), document.name)


def _evaluation(document: Document, part: str | None) -> Captions:
    """What coco-caption writes per image: {"imgToEval": {id: {"caption": ...}}}."""
    _no_parts(document, part)
    per_image = _object(document).get("imgToEval")
    if not isinstance(per_image, dict):
        raise UserError(f"{document.name}: needs an object 'imgToEval'")

    by_id = {
        key: record.get("caption") if isinstance(record, dict) else None
        for key, record in per_image.items()
    }
    records = items_of(by_id, document.name)
    return _gathered(document.name, "an evaluation of coco-caption", records)


def _annotations(document: Document, part: str | None) -> Captions:
    """COCO's captions_*.json, and those of LAVIS, nocaps and VizWiz, in the order of the file.

    VizWiz marks captions as rejected or precanned; they are left out, as its own loader does.
    """
    _no_parts(document, part)
    value = _object(document)
    if not isinstance(value.get("annotations"), list):
        raise UserError(f"{document.name}: needs a list 'annotations'")
    order: dict[ImageId, list[str]] = {}
    file_names: dict[ImageId, str] = {}
    groups: dict[ImageId, str] = {}
    images = value.get("images")
    for number, image in enumerate(images if isinstance(images, list) else ()):
        where = f"{document.name}: images[{number}]"
        if not isinstance(image, dict) or "id" not in image:
            raise UserError(f"{where}: must be an object with an id")
        key = image_id(image["id"], where)
        if key in order:
            raise UserError(f"{where}: the image id {shown(key)} is repeated; remove one")
        order[key] = []
        for into, name in ((file_names, "file_name"), (groups, "domain")):
            if isinstance(image.get(name), str):
                into[key] = whole_text(image[name], f"{where}: {name}")
    left_out: Counter[str] = Counter()
    for number, annotation in enumerate(value["annotations"]):
        where = f"{document.name}: annotations[{number}]"
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            raise UserError(f"{where}: must be an object with image_id and caption")
        key = image_id(annotation["image_id"], where)
        if key not in order:
            if isinstance(images, list):
                raise UserError(f"{where}: is of image {shown(key)}, which is not among the images")
            order[key] = []
        mark = next((m for m in ("is_rejected", "is_precanned") if annotation.get(m)), None)
        if mark:
            left_out[mark.removeprefix("is_")] += 1
        else:
            order[key] += captions_at(annotation.get("caption"), f"{where} (image {shown(key)})")
    notes = [
        f"left out: {counted(count, 'caption')} marked {mark}" for mark, count in left_out.items()
    ]
    if bare := [key for key, captions in order.items() if not captions]:
        count = counted(len(bare), "image")
        notes.append(f"left out: {count} without captions; first: {shown(bare[0])}")
    by_image = {key: captions for key, captions in order.items() if captions}
    return Captions(document.name, "COCO annotations", by_image, file_names, groups, notes=notes)


def _karpathy(document: Document, part: str | None) -> Captions:
    """Karpathy's dataset_*.json; restval, the rest of val2014, is a split of its own."""
    images = _object(document).get("images")
    if not isinstance(images, list):
        raise UserError(f"{document.name}: needs a list 'images'")
    splits: Counter[str] = Counter()
    which = f"{part} split" if part else "splits"
    found = Captions(document.name, f"Karpathy's {which}", {})
    for number, image in enumerate(images):
        where = f"{document.name}: images[{number}]"
        if not isinstance(image, dict) or not isinstance(image.get("sentences"), list):
            raise UserError(
                f"{where}: has no sentences. Karpathy's files have them, and COCO's captions_*.json"
                " have 'annotations' beside 'images'"
            )
        name = str(image.get("split"))
        splits[name] += 1
        if part and name != part:
            continue
        key = image_id(image.get("cocoid", image.get("imgid")), where)
        if key in found.by_image:
            raise UserError(f"{where}: the image id {shown(key)} is repeated; remove one")
        raw = [s.get("raw") if isinstance(s, dict) else None for s in image["sentences"]]
        found.by_image[key] = captions_at(raw, where)
        if isinstance(image.get("filename"), str):
            found.file_names[key] = whole_text(image["filename"], f"{where}: filename")
    if part and part not in splits:
        raise UserError(f"{document.name}: has no split {part!r}; it has {listed(splits)}")
    found.parts = Counter() if part else splits
    return found


def listed(parts: Counter[str]) -> str:
    """Return the names of splits or decodings with their sizes, for messages."""
    return ", ".join(f"{name} ({counted(count, 'image')})" for name, count in sorted(parts.items()))


def _run(document: Document, part: str | None) -> Captions:
    """The captions of a run's stage `caption`: {"DECODING": {"ID": ["caption", ...]}}."""
    decodings = {name: of for name, of in _object(document).items() if isinstance(of, dict)}
    sizes = Counter({name: len(of) for name, of in decodings.items()})
    if part and part not in decodings:
        raise UserError(f"{document.name}: has no decoding {part!r}; it has {listed(sizes)}")
    if not decodings:
        raise UserError(f"{document.name}: must be an object of decodings")
    chosen = part or next(iter(decodings))
    records = items_of(decodings[chosen], document.name)
    found = _gathered(document.name, f"a run's captions by {chosen}", records)
    found.parts = Counter() if part or len(decodings) == 1 else sizes
    return found


def _textcaps(document: Document, part: str | None) -> Captions:
    """TextCaps: {"data": [{"image_id": ..., "caption_str": ...}]}, a record a caption."""
    _no_parts(document, part)
    data = _object(document).get("data")
    if not isinstance(data, list):
        raise UserError(f"{document.name}: needs a list 'data'")
    by_image: dict[ImageId, list[str]] = {}
    for number, record in enumerate(data):
        where = f"{document.name}: data[{number}]"
        if not isinstance(record, dict) or "image_id" not in record:
            raise UserError(f"{where}: must be an object with image_id and caption_str")
        key = image_id(record["image_id"], where)
        if "caption_str" in record:
            by_image.setdefault(key, []).extend(captions_at(record["caption_str"], where))
        elif key not in by_image:  # each record of an image repeats all its references
            by_image[key] = captions_at(record.get("reference_strs"), where)
    return Captions(document.name, "TextCaps", by_image)


def _object(document: Document) -> dict[str, Any]:
    if not isinstance(document.value, dict):
        kind = type(document.value).__name__
        raise UserError(f"{document.name}: must be a JSON object, not {kind}")
    return document.value


def _no_parts(document: Document, part: str | None) -> None:
    if part:
        raise UserError(f"{document.name}: has no part {part!r}; leave out the option")


FORMS: dict[str, Callable[[Document, str | None], Captions]] = {
    "coco-results": _results,
    "coco-annotations": _annotations,
    "coco-eval": _evaluation,
    "dictionary": _dictionary,
    "karpathy": _karpathy,
    "run": _run,
    "textcaps": _textcaps,
    "jsonl": _results,
    "csv": _results,
    "tsv": _results,
    "flickr8k-tokens": _results,
}
