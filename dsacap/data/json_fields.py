"""Fields of JSON records, checked for presence and type, for readers of annotation files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError


def list_field(record: Any, key: str, where: Path | str) -> list[Any]:
    """Return a list that a record holds; raise UserError if it is absent, empty or no list."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, list) or not value:
        raise UserError(
            f"{where}: needs a list {key!r}, not empty, as in COCO's captions_*.json"
            " or Karpathy's dataset_*.json"
        )
    return value


def typed_field(record: Any, key: str, kind: type, where: str) -> Any:
    """Return a value that a record holds; raise UserError if it is absent or of another type."""
    value = record.get(key) if isinstance(record, dict) else None
    if type(value) is not kind:  # a bool is an int to isinstance
        raise UserError(f"{where}: {key!r} must be {kind.__name__}, not {value!r}; correct it")
    return value


def caption_field(record: Any, key: str, where: str) -> str:
    """Return a caption that a record holds; raise UserError if it is absent, no text or blank."""
    caption = typed_field(record, key, str, where)
    if not caption.strip():
        raise UserError(f"{where}: empty caption; write or remove it")
    return caption


def few(items: Sequence[Any]) -> str:
    """Return the first five items as text, and the number of all if there are more."""
    return ", ".join(map(str, items[:5])) + (
        f", ... ({len(items)} in all)" if len(items) > 5 else ""
    )
