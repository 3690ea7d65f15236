"""Verified downloads from the published address, mirrors, or a folder of the user's.

A file gets its final name only after its size and hash were checked.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsacap.common.disk import check_room
from dsacap.common.errors import UserError
from dsacap.data.download.segments import Part, Refusal, download


def fetch(
    url: str,
    target: Path,
    size: int,
    md5: str | None = None,
    sha256: str | None = None,
    *,
    mirrors: Sequence[str] = (),
    folder: Path | None = None,
    offline: bool = False,
    connections: int = 4,
) -> Path:
    """Fetch a published file, unless it is there already.

    A file that is there is verified, without using the network. What has arrived of another is kept
    in `<target>.part`, from which the next call continues.

    Args:
        url: The address at which the file is published.
        target: Where to put the file.
        size: Its size in bytes.
        md5: Its md5 in hexadecimal; at least one of the two checksums is needed.
        sha256: Its sha256 in hexadecimal.
        mirrors: Addresses of folders that have the file under its own name, tried after `url`.
        folder: A folder of the user's that may have the file under its own name; it is then linked,
            not copied. What it lacks is downloaded.
        offline: Whether to raise an error instead of downloading.
        connections: How many segments to download at the same time.

    Returns:
        The target.

    Raises:
        UserError: No address delivers the file, the disk is too full, or the bytes are not the
            expected ones.
    """
    target, checksums = (
        Path(target),
        {name: value for name, value in (("md5", md5), ("sha256", sha256)) if value},
    )
    if not checksums:
        raise UserError(f"{url}: no checksum to verify it by; give its md5 or sha256")
    if target.exists():
        verify(target, size, checksums, url)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    mine = folder and folder / target.name
    if mine and mine.exists():
        verify(mine, size, checksums, url)
        target.unlink(missing_ok=True)  # a broken link
        target.symlink_to(mine.resolve())
    elif offline:
        places = (
            f"in {folder}" if folder else "here, and no folder that may have it is given (--from)"
        )
        raise UserError(
            f"{target}: offline, and there is no {target.name} ({size:,} bytes) {places};"
            f" fetch it elsewhere from {url}"
        )
    else:
        addresses = [url, *(f"{mirror.rstrip('/')}/{target.name}" for mirror in mirrors)]
        _fetch_from_any(addresses, target, size, checksums, connections)
    return target


def verify(path: Path, size: int | None, checksums: Mapping[str, str], url: str) -> None:
    """Check that a file is the published one.

    Args:
        path: The file.
        size: The expected size in bytes; None if it is unknown.
        checksums: The expected hash in hexadecimal for each algorithm.
        url: Where the file is published, for the message.

    Raises:
        UserError: The size or a hash differs.
    """
    if problem := _mismatch(path, size, checksums):
        raise UserError(
            f"{path}: not the file expected from {url}: {problem};"
            " remove it, or move it away, and run again"
        )


def lacking(target: Path, size: int) -> int:
    """Return how many bytes of disk the download of `target`, of `size` bytes, still takes."""
    if target.exists():
        return 0
    part = Part(target, size).path
    return max(0, size - part.stat().st_blocks * 512) if part.exists() else size  # a part is sparse


def _mismatch(path: Path, size: int | None, checksums: Mapping[str, str]) -> str | None:
    if (found := path.stat().st_size) != size and size is not None:
        return f"expected {size} bytes, got {found}"
    for algorithm, expected in checksums.items():
        with open(path, "rb") as file:
            got = hashlib.file_digest(file, algorithm).hexdigest()
        if got != expected.lower():
            return f"expected {algorithm} {expected}, got {got}"
    return None


def _fetch_from_any(
    urls: Sequence[str], target: Path, size: int, checksums: Mapping[str, str], connections: int
) -> None:
    part, problems = Part(target, size), []
    check_room({target.parent: lacking(target, size)})
    with part.open():
        for url in urls:
            try:
                if problem := _fetch_from(url, part, checksums, connections):
                    problems.append(f"{url}: not the file expected: {problem}")
                else:
                    return part.become(target)
            except Refusal as refusal:
                problems.append(f"{url}: {refusal}")
            except OSError as error:
                raise UserError(
                    f"{part.path}: cannot write ({error.strerror});"
                    " correct that, and run again to continue"
                ) from None
    if not part.received:
        part.remove()
    raise UserError(
        "\n  ".join(
            [f"{target}: download failed; run again to continue where it stopped:", *problems]
        )
    )


def _fetch_from(url: str, part: Part, checksums: Mapping[str, str], connections: int) -> str | None:
    """Complete a part, and return what is wrong with its bytes, if anything.

    Wrong bytes are discarded. If some came from another address, all are fetched again from `url`.
    """
    while True:
        mixed = part.received > 0
        if part.lacking():
            download(url, part, connections)
        problem = _mismatch(part.path, part.size, checksums)
        if not problem:
            return None
        part.clear()
        if not mixed:
            return problem
