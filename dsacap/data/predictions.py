"""Captions of any origin, to be scored: predictions in COCO's results format, references in COCO's or already tokenised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.coco import read_captions

_LONGEST = (
    200  # words; what is longer is a file gone wrong, and SPICE's parser takes memory by the square
)
_CHARACTERS = 5000


def read_predictions(path: Path) -> dict[int, list[str]]:
    """Image id -> captions, from a list of {"image_id", "caption"}: one an image, or the same number of several."""
    records = read_json(path)
    if not isinstance(records, list):
        raise UserError(
            f'{path}: must be a list of {{"image_id": ..., "caption": ...}}, not {type(records).__name__}'
        )
    if not records:
        raise UserError(f"{path}: no predictions in it")
    captions: dict[int, list[str]] = {}
    for i, record in enumerate(records):
        image_id, caption = _fields(record, f"{path}: record {i}")
        captions.setdefault(image_id, []).append(caption)
    first_id, first = next(iter(captions.items()))
    for image_id, said in captions.items():
        if len(said) != len(first):
            raise UserError(
                f"{path}: image {image_id} has {len(said)} captions, image {first_id} has {len(first)}; "
                "give every image one caption, or the same number of several"
            )
    return captions


def _fields(record: Any, where: str) -> tuple[int, str]:
    if not isinstance(record, dict) or not {"image_id", "caption"} <= record.keys():
        raise UserError(
            f'{where}: must be {{"image_id": ..., "caption": ...}}, not {str(record)[:80]}'
        )
    if type(record["image_id"]) is not int:
        raise UserError(f"{where}: image_id must be a whole number, not {record['image_id']!r}")
    return record["image_id"], _caption(record["caption"], f"{where} (image {record['image_id']})")


def _caption(caption: Any, where: str) -> str:
    if not isinstance(caption, str):
        raise UserError(f"{where}: the caption must be a string, not {caption!r}")
    words = len(caption.split())
    if words > _LONGEST or len(caption) > _CHARACTERS:
        raise UserError(
            f"{where}: {words} words and {len(caption)} characters, more than {_LONGEST} or {_CHARACTERS}; mend the caption"
        )
    return caption


def read_references(
    paths: Sequence[Path], tokenized: bool
) -> tuple[dict[int, list[str]], dict[int, str]]:
    """References by image id, and file names where the format has them.

    COCO's captions_*.json; with `tokenized`, a JSON object of id -> list of PTB tokens joined by spaces, which are then left as they are.
    """
    if not tokenized:
        annotated = read_captions(paths)
        return {i: list(image.captions) for i, image in annotated.items()}, {
            i: image.file_name for i, image in annotated.items()
        }
    references: dict[int, list[str]] = {}
    for path in paths:
        data = read_json(path)
        if not isinstance(data, dict):
            raise UserError(
                f"{path}: tokenised references must be an object of image id -> list of captions"
            )
        for key, said in data.items():
            if not key.isdigit() or not isinstance(said, list) or not said:
                raise UserError(
                    f"{path}: {key!r} must be an image id with a list of one or more captions"
                )
            if int(key) in references:
                raise UserError(f"{path}: image id {key} occurs twice; remove one")
            references[int(key)] = [_caption(caption, f"{path}: image {key}") for caption in said]
    return references, {}


def matched(
    path: Path, predictions: dict[int, list[str]], references: dict[int, list[str]], subset: bool
) -> dict[int, list[str]]:
    """The references of the images that `path` has predictions of.

    A part of the images is refused unless asked for: it changes CIDEr's document frequencies.
    """
    unknown = [i for i in predictions if i not in references]
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} predictions are of images without references; first: image {unknown[0]}. "
            "Are these the right references?"
        )
    missing = [i for i in references if i not in predictions]
    if missing and not subset:
        raise UserError(
            f"{path}: {len(missing)} of {len(references)} images have no prediction; first: image {missing[0]}. Predict them, or say "
            "--subset to score the predicted images alone: CIDEr then takes its document frequencies from these, and compares with no "
            "other number"
        )
    return {i: references[i] for i in predictions}
