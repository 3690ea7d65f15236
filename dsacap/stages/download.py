"""Downloads: files are fetched, unpacked, and checked again before they are used."""

import sys
from collections.abc import Mapping
from pathlib import Path

from dsacap.common.disk import check_room
from dsacap.common.errors import UserError
from dsacap.common.outputs import print_written
from dsacap.config.dataset import Downloads, Remote, Scenes
from dsacap.data.download.archives import extract
from dsacap.data.download.fetch import fetch, lacking, verify
from dsacap.runs.layout import Layout

# The space set aside for what is unpacked from an archive, in archive sizes; JSON captions take 5.
_UNPACKED = 6


def download(layout: Layout, target: Path | None = None, settings: Downloads | None = None) -> None:
    """Fetch files that the configuration names, and check their sizes and checksums.

    Files that exist and are right are kept. Before anything is fetched, the disk must have room for
    all missing files and for what is unpacked from them.

    Args:
        layout: The layout of the configuration.
        target: The file; None for all.
        settings: How to fetch; by default as the configuration says.

    Raises:
        UserError: There is nothing to download, a file is unknown, unavailable or not what was
            published, or the disk is too full.
    """
    settings = settings or layout.config.downloads
    remotes = _remotes(layout)
    chosen = remotes if target is None else {target: _remote(layout, target)}
    if not chosen:
        raise UserError(f"nothing to download: {_why_none(layout)}")
    _check_available(chosen, settings)
    needed = room_for_downloads(layout, settings)
    check_room(needed)
    if any(needed.values()):
        print(
            f"{sum(needed.values()) / 1e9:.1f} GB in all are needed for the downloads that remain"
            " and for what is unpacked from them",
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


def _check_available(remotes: Mapping[Path, Remote], settings: Downloads) -> None:
    """Raise a UserError if files are missing offline; it lists all, as a user has to bring them."""
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
        place = settings.folder or "a folder, and name it with --from"
        head = f"offline, and these files are missing; put them into {place}:"
        raise UserError("\n".join([head, *lines]))


def _linked(path: Path, settings: Downloads) -> bool:
    return settings.folder is not None and (settings.folder / path.name).exists()


def room_for_downloads(layout: Layout, settings: Downloads) -> dict[Path, int]:
    """Return the bytes that each folder still needs, for archives and what is unpacked from them.

    Files in the user's own folder need none, since they are linked.
    """
    needed: dict[Path, int] = {}
    for path, remote in _remotes(layout).items():
        size = 0 if _linked(path, settings) else lacking(path, remote.size)
        if not all(wanted.exists() for wanted in remote.unpack):
            size += _UNPACKED * remote.size
        needed[path.parent] = needed.get(path.parent, 0) + size
    return needed


def unpack(layout: Layout, target: Path) -> None:
    """Check a fetched archive, and unpack the files that the configuration wants next to it.

    Raises:
        UserError: The archive is missing, or is not what was published.
    """
    remote = _remote(layout, target)
    if not target.exists():
        raise UserError(f"{target}: is not downloaded yet; run dsacap download first")
    verify(target, remote.size, remote.checksums, remote.url)
    extract(
        target,
        target.parent,
        [path.relative_to(target.parent).as_posix() for path in remote.unpack],
    )
    print_written(remote.unpack)


def verify_sources(layout: Layout) -> None:
    """Check the files that the data set is read from, whether they were downloaded or copied.

    Raises:
        UserError: One of them is not what was published.
    """
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        return
    read = {*dataset.caption_files, *dataset.images.values()}
    for path, remote in _remotes(layout).items():
        if path in read and path.exists():
            verify(path, remote.size, remote.checksums, remote.url)
        for part, digest in remote.unpack.items():
            if digest and part in read and part.exists():
                algorithm, _, expected = digest.partition(":")
                verify(part, None, {algorithm: expected}, f"{remote.url} ({path.name})")


def _remotes(layout: Layout) -> dict[Path, Remote]:
    """Return what is downloaded: photos only if an encoder reads them."""
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        return {}
    unread = set() if layout.config.reads_photos else set(dataset.images.values())
    return {path: remote for path, remote in dataset.downloads.items() if path not in unread}


def _remote(layout: Layout, target: Path) -> Remote:
    remotes = _remotes(layout)
    if target not in remotes:
        known = ", ".join(map(str, remotes)) or f"none, because {_why_none(layout)}"
        raise UserError(f"{target}: not among the configuration's downloads; known: {known}")
    return remotes[target]


def _why_none(layout: Layout) -> str:
    if isinstance(layout.config.dataset, Scenes):
        return "scenes are generated"
    return "the configuration has no downloads whose files are read"
