"""Free disk space: measure it, and refuse work that does not fit."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from dsacap.common.errors import UserError

SPARE = 256 * 2**20  # bytes to leave free on a disk


def check_room(needed: Mapping[Path, int]) -> None:
    """Raise if the disks of some folders have too little free space.

    Args:
        needed: Bytes to be written to each folder. The folders need not exist yet; what goes to
            the same disk is added up.

    Raises:
        UserError: A disk would be left with less than `SPARE` bytes.
    """
    for folder, total in by_disk(needed.items()):
        free = free_space(folder)
        if total and free < total + SPARE:
            raise UserError(
                f"{folder}: {free / 1e9:.1f} GB free on this disk,"
                f" {(total + SPARE) / 1e9:.1f} GB needed; make room"
            )


def by_disk(needed: Iterable[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """Add up the bytes needed on each disk.

    Args:
        needed: Folders, which need not exist yet, and the bytes that each needs.

    Returns:
        For each disk, one existing folder on it and the total number of bytes.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needed:
        present = existing(folder)
        first, total = disks.get(present.stat().st_dev, (present, 0))
        disks[present.stat().st_dev] = first, total + size
    return list(disks.values())


def free_space(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest ancestor that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
