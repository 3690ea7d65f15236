"""Files: read with errors for people, written whole or not at all (temporary file, then rename)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from dsacap.common.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to load, and scoring does not need it
    import torch


_DIGEST = "sha256"  # in the metadata of tensors
# What `zipfile` raises on a damaged archive: of its own, of the four ways to pack, of names (ValueError: not UTF-8), and of what it cannot
# read (RuntimeError: encrypted, or packed in a way that it does not know).
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it over `path` on success; on failure nothing is left behind."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _numbered(path):
            yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder that a library writes file by file. One that is there is put away first."""
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
    """Of a full disk safetensors tells in words; here it is an OSError, as from everything else that writes."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise (
            OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error
        ) from None


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Plain JSON; NaN and infinity are refused, since they are not JSON."""
    write_text(
        path,
        json.dumps(data, ensure_ascii=False, indent=None, allow_nan=False, separators=(",", ":"))
        + "\n",
    )


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    write_text(
        path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    )


def read_text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise _unread(path, error) from None


def _unread(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else f'cannot be read: {error.strerror}'}"
    )


def read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of thousands of digits, brackets in brackets in brackets, a key twice
        raise UserError(f"{path}: no JSON that can be read: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of whose keys none stands twice: the latter would silently win."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in an object"
        )
    return made


def read_jsonl(path: Path) -> list[Any]:
    rows = []
    lines = read_text(path).split("\n")  # not splitlines: U+2028 may stand in a caption
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: no JSON that can be read: {error}") from None
    return rows


def write_tensors(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """A safetensors file that carries the hash of its tensors, so that whoever reads it notices a flipped bit."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {**(metadata or {}), _DIGEST: _digest(tensors)})


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file and its metadata; those that `write_tensors` wrote are checked against the hash in it."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise UserError(
            f"{path}: torn or not a safetensors file ({error}); delete it and run the same command again"
        ) from None
    if metadata.pop(_DIGEST, None) not in (None, _digest(tensors)):
        raise UserError(
            f"{path}: changed since it was written (its tensors have another sha256); delete it and run the same command again"
        )
    return tensors, metadata


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unread(path, error) from None


def check_pinned(name: str, revision: str | None) -> None:
    """ValueError where `name` is no folder and has no commit, so that the hub may give other weights tomorrow."""
    if not revision and not Path(name).is_dir():
        raise ValueError(
            f"no folder {name!r}; a name of the hub needs a revision, so that the same weights come tomorrow"
        )
