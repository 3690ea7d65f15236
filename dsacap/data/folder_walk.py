"""The files below a folder, with those that links lead to."""

import os
import posixpath
from collections import defaultdict, deque
from pathlib import Path

from dsacap.common.errors import UserError


def walk(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """List the files below a folder, at any depth.

    Links to folders are followed, after all folders that are reached without them. No folder is
    read twice, nor is one above the root, so links in a circle end.

    Args:
        root: The folder.

    Returns:
        The paths of the files below the root, and the paths of what is left out by the reason, in
        order. A dangling link, and a folder that cannot be read, are among the files: whoever opens
        them gets the error.

    Raises:
        UserError: The root cannot be read.
    """
    files: list[str] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    seen = {_identity(above): "a link to a folder above" for above in root.resolve().parents}
    folders, links = deque([""]), deque[str]()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        try:
            if (identity := _identity(root / folder)) in seen:
                left_out[seen[identity]].append(folder)
                continue
            seen[identity] = "a folder that is read under another name"
            with os.scandir(root / folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise UserError(f"{root}: cannot be read: {error.strerror}") from None
            files.append(folder)
            continue
        for entry in inside:
            path = posixpath.join(folder, entry.name)
            linked = entry.is_symlink()
            if os.path.isdir(entry.path) if linked else entry.is_dir():
                (links if linked else folders).append(path)
            elif is_hidden(path):
                left_out["hidden"].append(path)
            elif (not linked and entry.is_file()) or _is_file_or_dangles(entry.path):
                files.append(path)
            else:
                left_out["neither file nor folder"].append(path)
    return files, {reason: sorted(paths) for reason, paths in left_out.items()}


def is_hidden(path: str) -> bool:
    """Return whether a file is hidden, as Unix and macOS hide files by their names."""
    return posixpath.basename(path).startswith(".")


def _is_file_or_dangles(path: str) -> bool:
    return os.path.isfile(path) or not os.path.exists(path)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
