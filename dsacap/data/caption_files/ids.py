"""Ids of images as files have them: numbers, text, or file names."""

import operator
import re
import reprlib
from pathlib import PurePosixPath
from typing import Any

from dsacap.common.errors import UserError

ImageId = int | str

_NUMBER = re.compile(r"(0|-?[1-9][0-9]{0,99})(\.0+)?")  # as pandas writes a column with a gap
_COCO = re.compile(r"COCO_[a-z]+[0-9]{4}_([0-9]{12})")
_SHOWN = 80  # characters of an id
_EXACT = 2**53  # the float of this number is that of the next one, too


def image_id(value: Any, where: str) -> ImageId:
    """Return an id in its one form: text that is a plain number is that number.

    So 391895, "391895" and 391895.0 are the same id, while "0391895" and "a.jpg" remain text.

    Args:
        value: The id as a file has it.
        where: Its place, for messages.

    Raises:
        UserError: It is no id.
    """
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        return operator.index(value)
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= _EXACT:
            raise UserError(
                f"{where}: the id {value!r} is a float, which holds no id of this size exactly;"
                " write ids as whole numbers or as text"
            )
        return int(value)
    if isinstance(value, str) and value.strip():
        number = _NUMBER.fullmatch(value.strip())
        return int(number[1]) if number else whole_text(value, where)
    raise UserError(f"{where}: the id must be a whole number or text, not {str(value)[:80]!r}")


def shown(image: ImageId) -> str:
    """Return an id for messages: text in quotes, and without the middle of what is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = _SHOWN
    return short.repr(image)


def whole_text(text: str, where: str) -> str:
    """Return text; raise UserError if it has half a character, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: character {error.start + 1} of {text[:40]!r} is half a surrogate pair;"
            " the text was damaged before it was written"
        ) from None
    return text


def is_file_name(value: ImageId) -> bool:
    """Return whether an id looks like the name of an image file."""
    return isinstance(value, str) and bool(PurePosixPath(value).suffix)


def id_of_file_name(value: ImageId) -> ImageId:
    """Return the id that a file name stands for: `val2014/COCO_val2014_000000391895.jpg` is 391895.

    That is the number in a name of COCO's, a name that is a number, or else the name without folder
    and suffix.
    """
    if isinstance(value, int):
        return value
    stem = PurePosixPath(value.replace("\\", "/")).stem
    coco = _COCO.fullmatch(stem)
    if coco:
        return int(coco[1])
    return int(stem) if re.fullmatch(r"[0-9]{1,99}", stem) else stem
