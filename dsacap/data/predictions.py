"""Captions of any origin, to be scored.

Predictions are in COCO's results format; references are in COCO's annotation format or tokenised.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.coco import read_captions


def read_predictions(path: Path) -> dict[int, list[str]]:
    """Read predictions in COCO's results format.

    Args:
        path: A JSON list of {"image_id": ..., "caption": ...}.

    Returns:
        The captions of each image id, equally many for every image.

    Raises:
        UserError: The file is malformed or empty, or the images have different numbers of captions.
    """
    records = read_json(path)
    if not isinstance(records, list):
        raise UserError(
            f'{path}: must be a list of {{"image_id": ..., "caption": ...}},'
            f" not {type(records).__name__}"
        )
    if not records:
        raise UserError(f"{path}: no predictions in it")
    captions: dict[int, list[str]] = {}
    for i, record in enumerate(records):
        image_id, caption = _fields(record, f"{path}: record {i}")
        captions.setdefault(image_id, []).append(caption)
    first_id, first = next(iter(captions.items()))
    for image_id, predicted in captions.items():
        if len(predicted) != len(first):
            raise UserError(
                f"{path}: image {image_id} has {len(predicted)} captions, image {first_id} has"
                f" {len(first)}; give every image one caption, or the same number of several"
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
    return caption


def read_references(
    paths: Sequence[Path], tokenized: bool
) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Read reference captions.

    Args:
        paths: COCO's captions_*.json files. With `tokenized`, JSON objects that give for each image
            id a list of captions, each of PTB tokens joined by spaces.
        tokenized: Whether the captions are tokenised; they are then left as they are.

    Returns:
        The references of each image id, and the file name of each where the format has it.

    Raises:
        UserError: A file is malformed, or an image id occurs twice.
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
                f"{path}: tokenised references must be a JSON object that gives"
                " a list of captions for each image id"
            )
        for key, captions in data.items():
            if not key.isdigit() or not isinstance(captions, list) or not captions:
                raise UserError(
                    f"{path}: {key!r} must be an image id with a list of one or more captions"
                )
            if int(key) in references:
                raise UserError(f"{path}: image id {key} occurs twice; remove one")
            references[int(key)] = [
                _caption(caption, f"{path}: image {key}") for caption in captions
            ]
    return references, {}


def matched(
    path: Path, predictions: dict[int, list[str]], references: dict[int, list[str]], subset: bool
) -> dict[int, list[str]]:
    """Return the references of the images that have predictions.

    Args:
        path: The file of the predictions, for messages.
        predictions: The predicted captions of each image id.
        references: The references of each image id.
        subset: Whether images without a prediction are allowed. By default they are refused, since
            scoring a part of the images changes CIDEr's document frequencies.

    Returns:
        The references of each predicted image, in the order of the predictions.

    Raises:
        UserError: A prediction has no references, or an image has no prediction.
    """
    unknown = [i for i in predictions if i not in references]
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} predicted images have no references; first: image"
            f" {unknown[0]}. Are these the right references?"
        )
    missing = [i for i in references if i not in predictions]
    if missing and not subset:
        raise UserError(
            f"{path}: {len(missing)} of {len(references)} images have no prediction; first: image"
            f" {missing[0]}. Predict them, or pass --subset to score the predicted images only:"
            " CIDEr then takes its document frequencies from these, and the score is not comparable"
            " with any other"
        )
    return {i: references[i] for i in predictions}
