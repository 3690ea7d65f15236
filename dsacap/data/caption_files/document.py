"""The value that a text holds: JSON, lines of JSON, or a table."""

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from dsacap.common.errors import UserError
from dsacap.common.files import unique_keys
from dsacap.common.printable import counted
from dsacap.data.caption_files.source import Source

Kind = Literal["json", "jsonl", "csv", "tsv", "flickr8k-tokens"]

ID_COLUMNS = ("image_id", "id", "image", "image_name", "file_name", "filename")
CAPTION_COLUMNS = ("caption", "captions", "comment", "text")
_SEPARATORS = ("\t", ",", ";", "|")  # the first is of TSV, and the others are of CSV
_TOKENS = re.compile(r"[^\t\n]+#[0-9]+\t")


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Attributes:
        name: The name of the file, for messages.
        kind: How it is written.
        value: The value of JSON; for all others a list of records, each a dictionary.
        lines: The line of each record; empty for JSON.
        notes: What was done that the user may not expect.
    """

    name: str
    kind: Kind
    value: Any
    lines: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def place(self, number: int) -> str:
        """Return the place of a record, for messages: its line, or its number in a list."""
        return (
            f"{self.name}:{self.lines[number]}" if self.lines else f"{self.name}: record {number}"
        )


def parse(source: Source, kind: Kind | None = None) -> Document:
    """Parse a text.

    Args:
        source: The text.
        kind: How it is written; None to find out from its beginning.

    Raises:
        UserError: It is malformed, or of no known kind.
    """
    if not source.text.strip():
        raise UserError(f"{source.name}: is empty")
    kind = kind or _kind_of(source)
    match kind:
        case "json" | "jsonl":
            return _parse_json(source, kind)
        case "flickr8k-tokens":
            return _parse_tokens(source)
    return _parse_table(source, kind)


def _kind_of(source: Source) -> Kind:
    text = source.text.lstrip()
    if text[0] in "[{":
        return "json"
    first = text.split("\n", 1)[0].rstrip("\r")
    if _TOKENS.match(first):
        return "flickr8k-tokens"
    if separator := _separator(first):
        return "tsv" if separator == "\t" else "csv"
    example = "image_id\\tcaption" if "\t" in first else "image_id,caption"
    raise UserError(
        f"{source.name}: is of no known form. It begins with {first[:60]!r}. A table needs a first"
        f" line with names of columns, such as {example}; JSON begins with [ or {{"
    )


def _separator(first_line: str) -> str | None:
    """Return what separates names of columns; None if the line names none that are known."""
    for separator in _SEPARATORS:
        columns = {column.strip(' "').lower() for column in first_line.split(separator)}
        if columns & set(ID_COLUMNS) and columns & set(CAPTION_COLUMNS):
            return separator
    return None


def _parse_json(source: Source, kind: Kind) -> Document:
    if kind == "json":
        try:
            return Document(source.name, "json", _loads(source.text))
        except json.JSONDecodeError as error:
            first_line_ends = source.text.find("\n", 0) + 1
            several = error.msg == "Extra data" and error.pos >= first_line_ends > 0
            if not several:
                raise UserError(_json_fault(source, error)) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source.name}: JSON that cannot be read: {_reason(error)}") from None
    records, lines = [], []
    for number, line in enumerate(source.text.split("\n"), 1):  # a caption may contain U+2028
        if not line.strip():
            continue
        try:
            record = _loads(line)
        except (ValueError, RecursionError) as error:
            reason = _reason(error)
            raise UserError(f"{source.name}:{number}: not a line of JSON: {reason}") from None
        if not isinstance(record, dict):
            kind_of = type(record).__name__
            raise UserError(f"{source.name}:{number}: must be a JSON object, not {kind_of}")
        records.append(record)
        lines.append(number)
    return Document(source.name, "jsonl", records, tuple(lines))


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=unique_keys)


def _reason(error: ValueError | RecursionError) -> str:
    """Say what is wrong with JSON, without advice for programmers of Python."""
    if isinstance(error, RecursionError):
        return "its lists or objects are nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a number has too many digits" if "integer string" in str(error) else str(error)


def _json_fault(source: Source, error: json.JSONDecodeError) -> str:
    place = f"{source.name}:{error.lineno}:{error.colno}"
    if error.msg == "Extra data":
        return f"{place}: not JSON: a second value follows the first; join them into one list"
    ends = error.pos >= len(source.text.rstrip()) or error.msg.startswith("Unterminated string")
    hint = "; the file may have been cut off" if ends else ""
    return f"{place}: not JSON: {error.msg}{hint}"


def _parse_tokens(source: Source) -> Document:
    """Flickr8k.token.txt: `NAME#NUMBER<tab>CAPTION`."""
    records, lines = [], []
    for number, line in enumerate(source.text.split("\n"), 1):
        if not line.strip():
            continue
        if not _TOKENS.match(line):
            raise UserError(
                f"{source.name}:{number}: must be NAME#NUMBER, a tab and a caption,"
                f" not {line[:60]!r}"
            )
        name, _, caption = line.rstrip("\r").partition("\t")
        records.append({"image_id": name.rpartition("#")[0], "caption": caption})
        lines.append(number)
    return Document(source.name, "flickr8k-tokens", records, tuple(lines))


def _parse_table(source: Source, kind: Kind) -> Document:
    # Flickr30k's results.csv has `image_name| comment_number| comment`.
    separator = "\t" if kind == "tsv" else _separator(source.text.lstrip().split("\n", 1)[0]) or ","
    bare = _has_bare_quotes(source.text, separator)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if bare else csv.QUOTE_MINIMAL
    reader = csv.reader(
        io.StringIO(source.text),
        delimiter=separator,
        quoting=quoting,
        skipinitialspace=separator == "|",
        strict=True,
    )
    records, lines, joined = [], [], 0
    try:
        header = [name.strip().lower() for name in next(reader)]
        id_at, caption_at = _columns(header, source.name)
        for row in reader:
            if not row:
                continue
            if len(row) > len(header) == caption_at + 1:
                # An unquoted comma in the last column can only belong to the caption.
                row = [*row[:caption_at], separator.join(row[caption_at:])]
                joined += 1
            if len(row) != len(header):
                more = len(row) > len(header)
                remedy = "quote captions that contain the separator" if more else "add the others"
                raise UserError(
                    f"{source.name}:{reader.line_num}: has {counted(len(row), 'field')}, and the"
                    f" first line names {len(header)}; {remedy}"
                )
            records.append({"image_id": row[id_at], "caption": row[caption_at]})
            lines.append(reader.line_num)
    except csv.Error as error:
        remedy = 'quote a caption that has quotes, and double those: "a ""stop"" sign"'
        raise UserError(
            f"{source.name}:{reader.line_num}: not {kind.upper()}: {error};"
            f" {remedy if 'expected after' in str(error) else 'mend the line'}"
        ) from None
    notes = []
    if separator not in ("\t", ","):
        notes.append(f"{source.name}: its columns are separated by {separator!r}")
    if joined:
        notes.append(f"unquoted separators in {counted(joined, 'caption')} were kept")
    return Document(source.name, kind, records, tuple(lines), tuple(notes))


def _has_bare_quotes(text: str, separator: str) -> bool:
    """Return whether quotes are characters of the captions: TSV is written with and without.

    Read as quotes, they are then not closed, or join rows into one caption.
    """
    if separator != "\t":
        return separator == "|"  # Flickr30k's captions are never quoted
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter="\t", strict=True) if row]
    except csv.Error:
        return True
    joins_rows = any("\n" in cell and "\t" in cell for row in rows for cell in row)
    return joins_rows or len({len(row) for row in rows}) > 1


def _columns(header: list[str], name: str) -> tuple[int, int]:
    """Return the positions of the ids and of the captions.

    Raises:
        UserError: There is no column of ids or of captions, or which one is meant is not clear.
    """
    found = []
    for what, names in (("ids", ID_COLUMNS), ("captions", CAPTION_COLUMNS)):
        places = [at for at, column in enumerate(header) if column in names]
        if len(places) > 1 and header.count("image_id") == 1 and what == "ids":
            places = [header.index("image_id")]
        if len(places) > 1:
            raise UserError(
                f"{name}:1: names several columns of {what}:"
                f" {', '.join(header[at] for at in places)}; leave one, or call it {names[0]}"
            )
        if not places:
            raise UserError(
                f"{name}:1: names no column of {what}; it has {', '.join(header)[:120]}, and"
                f" one of {', '.join(names)} is needed"
            )
        found.append(places[0])
    return found[0], found[1]
