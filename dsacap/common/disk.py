"""This module measures the free space of disks, and refuses work that does not fit on them."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from dsacap.common.errors import UserError

SPARE = 256 * 2**20  # bytes to leave free on a disk


def check_room(needed: Mapping[Path, int]) -> None:
    """UserError if the disks of the folders (which need not be there yet) lack so many bytes, taken together."""
    for there, total in by_disk(needed.items()):
        free = free_space(there)
        if total and free < total + SPARE:
            raise UserError(
                f"{there}: {free / 1e9:.1f} GB free on this disk, {(total + SPARE) / 1e9:.1f} GB needed; make room"
            )


def by_disk(needed: Iterable[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """A folder that is there and the bytes needed, once a disk, of folders and bytes."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needed:
        there = existing(folder)
        first, total = disks.get(there.stat().st_dev, (there, 0))
        disks[there.stat().st_dev] = first, total + size
    return list(disks.values())


def free_space(folder: Path) -> int:
    """Bytes free on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
