"""`dsacap convert`: captions of any form as a results file of COCO's and nocaps' servers."""

import argparse
import sys

from dsacap.cli.reading import check_files, reading_of
from dsacap.common.errors import UserError
from dsacap.common.files import write_json
from dsacap.common.outputs import beside
from dsacap.common.printable import counted
from dsacap.data.caption_files.ids import ImageId, id_of_file_name, shown, whole_text
from dsacap.evaluation.inputs import load_predictions


def convert(options: argparse.Namespace) -> None:
    """Write captions as a list of {"image_id", "caption"}.

    Args:
        options: The options of `dsacap convert`.

    Raises:
        UserError: The file is malformed, has several captions of an image, or ids that are no
            numbers, or the output would overwrite it.
    """
    check_files(options, [options.captions], [options.output])
    found = load_predictions(options.captions, reading_of(options))
    records = []
    origin: dict[int, ImageId] = {}
    for image, texts in found.by_image.items():
        if len(texts) > 1:
            raise UserError(
                f"{found.name}: image {shown(image)} has {len(texts)} captions, and servers take"
                " one; pass --duplicates first to keep the first"
            )
        number = id_of_file_name(image) if options.ids == "file-names" else image
        if not isinstance(number, int):
            raise UserError(
                f"{found.name}: the id {shown(image)} is not a number, and servers take numbers;"
                " pass --ids file-names if ids are names of COCO's image files"
            )
        if number in origin:
            raise UserError(
                f"{found.name}: the ids {shown(origin[number])} and {shown(image)} are both image"
                f" {number}; remove one"
            )
        origin[number] = image
        caption = whole_text(texts[0], f"{found.name}: image {shown(image)}")
        records.append({"image_id": number, "caption": caption})
    write_json(options.output, records)
    for note in found.notes:
        print(note, file=sys.stderr)
    with beside([options.output]):
        count = counted(len(records), "caption")
        print(f"{options.output}: {count}; read from {found.name}, {found.form}")
