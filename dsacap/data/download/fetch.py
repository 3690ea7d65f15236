"""Verified download: from the published address, mirrors, or a folder of the user's; checked by size and hash before it gets its name."""

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
    """Brings the file that is published at `url` to `target` and returns `target`; one that is there already costs no network.

    size: in bytes; at least one checksum is needed.
    mirrors: addresses where the file lies under its own name, asked after `url`.
    folder: where the user has it under its own name: it is linked, not copied. What is not there is downloaded, unless `offline`.

    What arrives is kept in `<target>.part`, which the next call continues. Raises UserError when no address gives the file, the disk is
    too full, or the bytes are not the expected ones.
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
        target.unlink(missing_ok=True)  # a link that leads nowhere
        target.symlink_to(mine.resolve())
    elif offline:
        places = (
            f"in {folder}" if folder else "here, and no folder is named that may have it (--from)"
        )
        raise UserError(
            f"{target}: offline, and there is no {target.name} ({size:,} bytes) {places}; fetch it elsewhere from {url}"
        )
    else:
        addresses = [url, *(f"{mirror.rstrip('/')}/{target.name}" for mirror in mirrors)]
        _fetch_from_any(addresses, target, size, checksums, connections)
    return target


def verify(path: Path, size: int | None, checksums: Mapping[str, str], url: str) -> None:
    """UserError if the file is not the one published at `url`."""
    if problem := _mismatch(path, size, checksums):
        raise UserError(
            f"{path}: not the file expected from {url}: {problem}; remove it, or move it away, and run again"
        )


def lacking(target: Path, size: int) -> int:
    """Bytes of disk that the download of `target` still takes."""
    if target.exists():
        return 0
    part = Part(target, size).path
    return max(0, size - part.stat().st_blocks * 512) if part.exists() else size  # a part has holes


def _mismatch(path: Path, size: int | None, checksums: Mapping[str, str]) -> str | None:
    if (there := path.stat().st_size) != size and size is not None:
        return f"expected {size} bytes, got {there}"
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
                    f"{part.path}: cannot write ({error.strerror}); mend that and run again to go on"
                ) from None
    if not part.bytes:
        part.remove()
    raise UserError(
        "\n  ".join(
            [f"{target}: download failed; run again to go on from where it stopped:", *problems]
        )
    )


def _fetch_from(url: str, part: Part, checksums: Mapping[str, str], connections: int) -> str | None:
    """Completes a part; what is wrong with the bytes, if anything is: they are then gone. Bytes that were begun elsewhere get a second
    chance, all of them from `url`."""
    while True:
        mixed = part.bytes > 0
        if part.lacking():
            download(url, part, connections)
        problem = _mismatch(part.path, part.size, checksums)
        if not problem:
            return None
        part.clear()
        if not mixed:
            return problem
