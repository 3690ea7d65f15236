"""Verified download: resumed where it broke off, checked against size and checksum, and only then given its name."""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import requests
from tqdm import tqdm

from dsacap.data.photos import ZIP_ERRORS, open_zip
from dsacap.errors import UserError

TRIES = 4  # for each address
TIMEOUT = (10, 60)  # seconds to connect, and between two reads
SPARE = 256 * 2**20  # bytes to leave free on the disk
_CHUNK = 2**20  # bytes


def fetch(url: str, target: Path, size: int, md5: str | None = None, sha256: str | None = None, mirrors: Sequence[str] = ()) -> Path:
    """Downloads `url`, or else one of its mirrors, to `target` and returns `target`; a file already there costs no network.

    `size` is in bytes; at least one checksum is needed. What arrives is kept in `<target>.part`, which the next call continues.
    Raises UserError when no address answers, the disk is too full, or the bytes are not the expected ones.
    """
    target, checksums = Path(target), {name: value for name, value in (("md5", md5), ("sha256", sha256)) if value}
    if not checksums:
        raise UserError(f"{url}: no checksum to verify it by; give its md5 or sha256")
    if target.exists():
        if problem := _mismatch(target, size, checksums):
            raise UserError(f"{target}: not the file expected from {url}: {problem}; remove it, or move it away, and run again")
        return target
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    _check_space(part.parent, size - _size(part))
    if _size(part) < size:
        _download_from_any((url, *mirrors), part, size)
    if problem := _mismatch(part, size, checksums):
        part.unlink()
        raise UserError(f"{url}: the download is not the file expected: {problem}; removed it: run again to fetch it afresh")
    os.replace(part, target)
    return target


def extract(archive: Path, folder: Path) -> None:
    """Extracts a zip into `folder`, all of it or nothing; files already there with the same bytes stay.

    Raises UserError, before anything is written, on unsafe names, links, and files in `folder` that differ from the archive's.
    """
    archive, folder = Path(archive), Path(folder)
    with open_zip(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir() and not _is_extracted(member, folder, archive)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_space(folder.parent, sum(member.file_size for member in members))
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            try:
                opened.extractall(temporary, members)
            except ZIP_ERRORS as error:
                raise UserError(f"{archive}: cannot extract it ({error}); fetch it again") from None
            for member in members:
                (folder / member.filename).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(temporary) / member.filename, folder / member.filename)  # also works where `folder` is a mount


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise UserError(f"{folder}: {free / 1e9:.1f} GB free on this disk, {(needed + SPARE) / 1e9:.1f} GB needed; make room")


def _mismatch(path: Path, size: int, checksums: dict[str, str]) -> str | None:
    if _size(path) != size:
        return f"expected {size} bytes, got {_size(path)}"
    for algorithm, expected in checksums.items():
        with open(path, "rb") as file:
            got = hashlib.file_digest(file, algorithm).hexdigest()
        if got != expected.lower():
            return f"expected {algorithm} {expected}, got {got}"
    return None


def _download_from_any(urls: Sequence[str], part: Path, size: int) -> None:
    problems = []
    for url in urls:
        for attempt in range(TRIES):
            time.sleep(2**attempt - 1)  # 0, 1, 3, 7 seconds
            try:
                return _download(url, part, size)
            except requests.RequestException as error:
                problems.append(f"{url}: {error}")
                if error.response is not None and error.response.status_code < 500:
                    break  # the server is well, so its answer stands: not found, or not our file
            except OSError as error:
                raise UserError(f"{part}: cannot write ({error.strerror}); mend that and run again to go on") from None
    raise UserError("\n  ".join(["download failed; run again to go on from where it stopped:", *dict.fromkeys(problems)]))


def _download(url: str, part: Path, size: int) -> None:
    """One request for the bytes that `part` still lacks; HTTPError if the address offers other bytes."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        if response.status_code == 206:
            offered = response.headers.get("Content-Range", "")
            if not re.fullmatch(rf"bytes {have}-\d+/({size}|\*)", offered):
                problem = f"asked for bytes {have} on of {size}, offers {offered!r}; if no address works, remove {part}"
                raise requests.HTTPError(problem, response=response)
        else:  # the server ignores ranges
            have = 0
            if (length := response.headers.get("Content-Length", str(size))) != str(size):
                raise requests.HTTPError(f"offers {length} bytes instead of {size}", response=response)
        bar = tqdm(desc=part.stem, total=size, initial=have, unit="B", unit_scale=True, mininterval=1)
        with bar, open(part, "ab" if have else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                have += len(chunk)
                if have > size:
                    raise requests.HTTPError(f"sends more than {size} bytes", response=response)
                file.write(chunk)
                bar.update(len(chunk))
    if have < size:
        raise requests.ConnectionError(f"connection closed after {have} of {size} bytes")


def _is_extracted(member: zipfile.ZipInfo, folder: Path, archive: Path) -> bool:
    """Whether `folder` holds this member already; UserError if something else stands there, or it is a link."""
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{archive}: refusing the link {member.filename!r}; a data archive needs none")
    there = folder / member.filename
    if not there.exists():
        return False
    if not there.is_file() or _size(there) != member.file_size or zlib.crc32(there.read_bytes()) != member.CRC:
        raise UserError(f"{there}: differs from the one in {archive}; remove it, or move it away, and run again")
    return True
