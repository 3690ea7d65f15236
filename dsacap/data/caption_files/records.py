"""Captions as records with an id, or as an object by id."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from dsacap.common.errors import UserError
from dsacap.data.caption_files.document import CAPTION_COLUMNS, ID_COLUMNS, Document
from dsacap.data.caption_files.ids import ImageId, image_id, shown

# What tools call the id of an image, and its caption; the second id is `dsacap caption --json`'s.
ID_KEYS = ("image_id", "photo")
CAPTION_KEYS = ("caption", "captions")
# A record without them may have one of a table's names, but for "id": COCO's is the annotation's.
_OTHER_IDS = tuple(name for name in ID_COLUMNS if name != "id")

Records = Iterator[tuple[ImageId, list[str]]]  # an image, and one or more of its captions


def is_record(value: Mapping[str, Any]) -> bool:
    """Return whether an object has the keys of an id and of a caption."""
    keys = value.keys()
    return bool(keys & {*ID_KEYS, *_OTHER_IDS} and keys & {*CAPTION_KEYS, *CAPTION_COLUMNS})


def items_of(captions: Mapping[Any, Any], name: str) -> Records:
    """Yield the images and captions of an object by id.

    Args:
        captions: Id -> a caption, or several.
        name: What the object is called in messages.

    Raises:
        UserError: An id or a caption is malformed, or two keys are the same id.
    """
    seen: dict[ImageId, Any] = {}
    for key, of_image in captions.items():
        where = f"{name}: {str(key)[:60]!r}"
        image = image_id(key, where)
        if image in seen:
            raise UserError(
                f"{where}: is the same image as the key {str(seen[image])[:60]!r}; remove one, or"
                " give the image a list of captions"
            )
        seen[image] = key
        yield image, captions_at(of_image, where)


def records_of(document: Document) -> Records:
    """Yield the images and captions of a list of records.

    Args:
        document: The document, whose value is a list.

    Raises:
        UserError: A record is malformed.
    """
    for number, record in enumerate(document.value):
        where = document.place(number)
        keys = record.keys() if isinstance(record, dict) else ()
        id_key = _key_among(keys, ID_KEYS, _OTHER_IDS, where)
        text_key = _key_among(keys, CAPTION_KEYS, CAPTION_COLUMNS, where)
        if id_key is None or text_key is None:
            found = f"has the keys {', '.join(keys)}" if keys else "is not an object"
            raise UserError(
                f'{where}: must be {{"image_id": ..., "caption": ...}}; it {found[:120]}'
            )
        if isinstance(record[id_key], list | dict):
            raise UserError(
                f"{where}: {id_key!r} holds several ids, as in a table that is written by columns;"
                " write an object for each caption (in pandas orient='records')"
            )
        key = image_id(record[id_key], where)
        yield key, captions_at(record[text_key], f"{where} (image {shown(key)})")


def _key_among(
    keys: Collection[str], first: Sequence[str], others: Sequence[str], where: str
) -> str | None:
    """Return the first of some keys that a record has, or else the only one of the others."""
    found = [key for key in first if key in keys][:1] or [key for key in others if key in keys]
    if len(found) > 1:
        raise UserError(
            f"{where}: which of {', '.join(found)} is meant is not clear; leave one, or call it"
            f" {first[0]}"
        )
    return found[0] if found else None


def captions_at(value: Any, where: str) -> list[str]:
    """Return the captions of a value: a caption, a list of them, or a list of {"caption": ...}.

    Args:
        value: The value.
        where: Its place, for messages.

    Raises:
        UserError: It is empty, or something in it is not text.
    """
    if isinstance(value, list | tuple) and not value:
        raise UserError(f"{where}: the list of captions is empty; add one, or leave the image out")
    items = value if isinstance(value, list | tuple) else [value]
    texts = [item.get("caption") if isinstance(item, dict) else item for item in items]
    captions = [text for text in texts if isinstance(text, str)]
    if len(captions) < len(texts):
        other = next(text for text in texts if not isinstance(text, str))
        raise UserError(f"{where}: the caption must be text, not {str(other)[:80]!r}")
    return captions
