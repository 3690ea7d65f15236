"""Reading files with clear errors, and writing them completely or not at all.

What is written goes to a temporary file first, which is then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from dsacap.common.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to load, and scoring does not need it
    import torch

_DIGEST = "sha256"  # its key in the metadata of a safetensors file
# What `zipfile` raises on a damaged archive: its own error, those of the four compression methods,
# ValueError for a name that is not UTF-8, and RuntimeError for a member that is encrypted or
# compressed by an unknown method.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)

# The open files of this process, by the names that shells give them.
_OPEN = re.compile(r"/(?:dev|proc/self)/(stdout|stderr|fd/([0-9]+))")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` on success and vanishes on failure.

    Args:
        path: The file to write. Its folder is made where it does not exist. A link stays, and the
            file that it points to is written; so does a device or a pipe, which is written into.

    Yields:
        A path in the same folder, renamed to `path` when the block ends without an exception.
    """
    path = Path(path)
    if _is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "written"
            _write_into(path, (Path(folder) / "written").read_bytes())
        return
    if path.is_symlink():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is short whatever that of the file is: a name may have 255 bytes.
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    temporary = path.with_name(f".{digest}.{os.getpid()}.tmp")
    try:
        with _numbered(path):
            yield temporary
        os.replace(temporary, path)
    except FileNotFoundError as error:
        if error.filename != str(temporary):
            raise
        raise UserError(
            f"{path}: cannot be written, since its folder was deleted; name another file"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """Return whether a path is a device, a pipe, or an open file of this process."""
    return _OPEN.fullmatch(str(path)) is not None or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


def _write_into(path: Path, data: bytes) -> None:
    """Write into a stream, after what was written before: to open it again would empty a file."""
    opened = _OPEN.fullmatch(str(path))
    if not opened:
        path.write_bytes(data)
        return
    sys.stdout.flush()
    number = {"stdout": 1, "stderr": 2}.get(opened[1]) or int(opened[2])
    with os.fdopen(os.dup(number), "wb") as stream:
        stream.write(data)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Do the same as `replacing` for a folder that a library writes file by file.

    A folder that exists at `path` is deleted just before the new one takes its name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        with _numbered(path):
            yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _numbered(path: Path) -> Iterator[None]:
    """Turn a SafetensorError that names a system error, such as a full disk, into an OSError."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise (
            OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file on one line, completely or not at all.

    Raises:
        ValueError: The data hold NaN or infinity, which JSON does not have.
    """
    write_text(
        path,
        json.dumps(data, ensure_ascii=False, indent=None, allow_nan=False, separators=(",", ":"))
        + "\n",
    )


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, completely or not at all; raise ValueError as `write_json`."""
    write_text(
        path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    )


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        UserError: The file does not exist, cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise _unread(path, error) from None


def _unread(path: Path, error: OSError) -> UserError:
    absent = isinstance(error, FileNotFoundError)
    return UserError(f"{path}: {'no such file' if absent else f'cannot be read: {error.strerror}'}")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        UserError: The file cannot be read, is not JSON, or repeats a key within an object.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, brackets nested too deeply, or a repeated key.
        raise UserError(f"{path}: JSON that cannot be read: {error}") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a repeated key is an error, since its last value would silently win."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated[:80]!r} is repeated within an object; remove one")
    return result


def read_jsonl(path: Path) -> list[Any]:
    """Return the values of a file with one JSON value a line.

    Raises:
        UserError: The file cannot be read, or a line, which is named, is not JSON.
    """
    rows = []
    lines = read_text(path).split("\n")  # not splitlines: a caption may contain U+2028
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: JSON that cannot be read: {error}") from None
    return rows


def write_tensors(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file with the hash of its tensors, by which readers notice a flipped bit.

    Args:
        path: The file to write, completely or not at all.
        tensors: The tensors by name.
        metadata: More metadata to store in the header.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {**(metadata or {}), _DIGEST: _digest(tensors)})


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file, checking the hash that `write_tensors` stored in it.

    Args:
        path: The file. One by another program, which has no hash, is read without this check.

    Returns:
        The tensors by name, and the metadata without the hash.

    Raises:
        UserError: The file does not exist, is truncated or of another format, or was changed.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise UserError(
            f"{path}: truncated, or not a safetensors file ({error});"
            " delete it and run the same command again"
        ) from None
    if metadata.pop(_DIGEST, None) not in (None, _digest(tensors)):
        raise UserError(
            f"{path}: changed since it was written (the sha256 of its tensors differs);"
            " delete it and run the same command again"
        )
    return tensors, metadata


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal; raise UserError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unread(path, error) from None


def check_pinned(name: str, revision: str | None) -> None:
    """Check that a pretrained model will have the same weights tomorrow.

    Args:
        name: A folder, or the name of a model on the Hugging Face hub.
        revision: The commit of the model on the hub.

    Raises:
        ValueError: The model is on the hub, and no revision pins it.
    """
    if not revision and not Path(name).is_dir():
        raise ValueError(
            f"{name!r} is no folder, and a model on the hub needs a revision (a commit),"
            " so that its weights stay the same"
        )
