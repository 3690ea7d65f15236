"""Files from the net: fetched, unpacked, and checked again before they are used."""

import sys
from collections.abc import Mapping
from pathlib import Path

from dsacap.common.disk import check_room
from dsacap.common.errors import UserError
from dsacap.config.dataset import Downloads, Remote, Scenes
from dsacap.data.download.archives import extract
from dsacap.data.download.fetch import fetch, lacking, verify
from dsacap.runs.layout import Layout

_UNPACKED = 6  # times an archive's size that is set aside for what is unpacked from it; captions in JSON take 5


def download(layout: Layout, target: Path | None = None, settings: Downloads | None = None) -> None:
    """Fetches one file that the configuration names, or all, checked by size and checksum; what is there and right is kept.

    Before the first byte, there must be room for all files that are still to come, and for what is unpacked from them.
    """
    settings = settings or layout.config.downloads
    remotes = _remotes(layout)
    chosen = remotes if target is None else {target: _remote(layout, target)}
    if not chosen:
        raise UserError("nothing to download: scenes are generated")
    _check_at_hand(chosen, settings)
    needed = room_for_downloads(layout, settings)
    check_room(needed)
    if any(needed.values()):
        print(
            f"in all, {sum(needed.values()) / 1e9:.1f} GB are still to come, with what is unpacked from them",
            file=sys.stderr,
        )
    for path, remote in chosen.items():
        fetch(
            remote.url,
            path,
            remote.size,
            remote.md5,
            remote.sha256,
            mirrors=settings.mirrors,
            folder=settings.folder,
            offline=settings.offline,
            connections=settings.connections,
        )
        print(
            f"{path}: {remote.size:,} bytes, as published"
            + (f"; linked from {path.resolve()}" if path.is_symlink() else "")
        )


def _check_at_hand(remotes: Mapping[Path, Remote], settings: Downloads) -> None:
    """Offline, all that is absent is named at once: it has to be carried here."""
    if settings.folder and not settings.folder.is_dir():
        raise UserError(f"{settings.folder}: no such folder")
    absent = [
        (path, remote)
        for path, remote in remotes.items()
        if not path.exists() and not _linked(path, settings)
    ]
    if settings.offline and absent:
        lines = [
            f"  {path.name}, {remote.size:,} bytes, from {remote.url}" for path, remote in absent
        ]
        place = settings.folder or "a folder, and name it (--from)"
        raise UserError("\n".join([f"offline, and not here; put into {place}:", *lines]))


def _linked(path: Path, settings: Downloads) -> bool:
    return settings.folder is not None and (settings.folder / path.name).exists()


def room_for_downloads(layout: Layout, settings: Downloads) -> dict[Path, int]:
    """Bytes that each folder has still to take, for archives and for what is unpacked from them. Files in the user's folder take none."""
    needed: dict[Path, int] = {}
    for path, remote in _remotes(layout).items():
        size = 0 if _linked(path, settings) else lacking(path, remote.size)
        if not all(wanted.exists() for wanted in remote.unpack):
            size += _UNPACKED * remote.size
        needed[path.parent] = needed.get(path.parent, 0) + size
    return needed


def unpack(layout: Layout, target: Path) -> None:
    """Checks a fetched archive and unpacks what is wanted of it into its own folder."""
    remote = _remote(layout, target)
    if not target.exists():
        raise UserError(f"{target}: not here yet; dsacap download fetches it")
    verify(target, remote.size, remote.checksums, remote.url)
    extract(
        target,
        target.parent,
        [path.relative_to(target.parent).as_posix() for path in remote.unpack],
    )


def verify_sources(layout: Layout) -> None:
    """UserError if a file that the data set is read from is not what was published, whoever put it there."""
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        return
    read = {*dataset.caption_files, *dataset.images.values()}
    for path, remote in dataset.downloads.items():
        if path in read and path.exists():
            verify(path, remote.size, remote.checksums, remote.url)
        for part, digest in remote.unpack.items():
            if digest and part in read and part.exists():
                algorithm, _, expected = digest.partition(":")
                verify(part, None, {algorithm: expected}, f"{remote.url} ({path.name})")


def _remotes(layout: Layout) -> dict[Path, Remote]:
    return {} if isinstance(layout.config.dataset, Scenes) else layout.config.dataset.downloads


def _remote(layout: Layout, target: Path) -> Remote:
    remotes = _remotes(layout)
    if target not in remotes:
        known = ", ".join(map(str, remotes)) or "none (scenes are generated)"
        raise UserError(f"{target}: not among the configuration's downloads; known: {known}")
    return remotes[target]
