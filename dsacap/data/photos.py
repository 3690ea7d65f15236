"""What a photo is: photos in folders and zips, recognised by content, and decoded or refused.

Commands and preprocessing alike read photos from a `PhotoSource` and by `decode`.
"""

import functools
import io
import os
import posixpath
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from dsacap.common.errors import UserError
from dsacap.common.files import ZIP_ERRORS
from dsacap.common.outputs import identity
from dsacap.data.folder_walk import is_hidden, walk
from dsacap.data.json_fields import few
from dsacap.data.photo_damage import check_whole
from dsacap.data.photo_pixels import BadImage, upright_rgb

# The most bytes of a name in usual file systems, and the most characters of a path, which leave
# room for the folder above it.
_LONGEST_NAME, _LONGEST_PATH = 255, 2000
# Not all that Pillow reads: its EPS reader runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
# Formats that begin with two letters, as a text may.
_SHORT_SIGNATURES = ("BMP", "PPM")
# A file with such a name is meant as a photo, whatever it contains. The last lines are photos in
# formats that are not read.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp"),
    *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".heic", ".heif", ".hif"),
    *(".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    *(".jxl", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
)


def check_name(name: str, where: Path) -> None:
    """Check that a file name inside a folder or archive is safe and possible.

    Args:
        name: The name.
        where: The folder or archive, for the message.

    Raises:
        UserError: The name is absolute or contains `..`, in the notation of Unix or Windows, or no
            file can have it.
    """
    parts = re.split(r"[/\\]", name)
    if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in parts:
        raise UserError(
            f"{where}: refusing the unsafe file name {name!r};"
            " names must be relative and without '..'"
        )
    if (
        not name.strip("./")
        or "\0" in name
        or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME
        or len(name) > _LONGEST_PATH
    ):
        raise UserError(f"{where}: refusing {name[:80]!r}, a name that no file can have")


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip for reading.

    Args:
        path: The zip.

    Returns:
        The open zip, whose names are all safe.

    Raises:
        UserError: The zip does not exist, is damaged or contains an unsafe name.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ZIP_ERRORS as error:
        raise UserError(f"{path}: not a zip, or truncated ({error}); fetch it again") from None
    for name in archive.namelist():
        check_name(name, path)
    return archive


def is_source(path: Path) -> bool:
    """Return whether a path is a folder or a zip, so that its photos are read with `PhotoSource`.

    A zip is recognised by its name or its first bytes.
    """
    if path.is_dir() or path.suffix.lower() == ".zip":
        return True
    try:
        if not path.is_file():  # a pipe, of which no byte may be lost
            return False
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\3\4", b"PK\5\6")
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return False


@dataclass(frozen=True)
class Contents:
    """What a folder or zip contains.

    Attributes:
        photos: The paths of photos inside, in alphabetical order, with those that turn out to be
            damaged or unreadable.
        left_out: The paths of other things inside, by the reason why they are left out.
    """

    photos: Sequence[str]
    left_out: Mapping[str, Sequence[str]]

    def notes(self) -> list[str]:
        """Return a line for each reason, which counts and names what is left out."""
        return [
            f"{len(paths):,} left out as {reason}: {few(paths)}"
            for reason, paths in self.left_out.items()
        ]


class PhotoSource:
    """The photos of one folder or zip, which is read without extraction.

    A photo is named by its path inside. If all photos share a leading folder, as in COCO's
    train2014.zip, which contains `train2014/COCO_train2014_....jpg`, the path below it is also a
    name. Links to folders are followed, and every folder is read once. Hidden files, such as macOS
    leaves in archives, are left out. Forked worker processes may share a source.

    Args:
        path: The folder or zip.

    Raises:
        UserError: It does not exist, is damaged, contains an unsafe name, or contains no files.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path}: no such folder or zip of photos")
        names, self._left_out = walk(self.path) if self.path.is_dir() else _members(self.path)
        if not names:
            notes = Contents((), self._left_out).notes()
            raise UserError("; ".join([f"{self.path}: no photos in it", *notes]))
        photos = [name for name in names if _claims_a_photo(name)] or names
        leading = posixpath.commonpath([posixpath.dirname(name) for name in photos])
        self._paths = {
            posixpath.normpath(name).removeprefix(f"{leading}/"): name for name in names
        } | {name: name for name in names}
        self._archive: zipfile.ZipFile | None = None
        self._owner: int | None = None  # the process that opened the archive

    def names(self) -> set[str]:
        """Return every name that `read` accepts."""
        return set(self._paths)

    def path_of(self, name: str) -> str | None:
        """Return the path inside of the photo that has a name, or None."""
        return self._paths.get(name)

    def paths(self) -> list[str]:
        """Return the path of every file inside that may be a photo, in alphabetical order."""
        return sorted(set(self._paths.values()))

    def contents(self) -> Contents:
        """Open every file, and return which are photos by their content or their name."""
        photos: list[str] = []
        others: list[str] = []
        for path in self.paths():
            (photos if self._is_photo(path) else others).append(path)
        return Contents(photos, ({"no photo": others} if others else {}) | self._left_out)

    def photos_among(self, files: Iterable[Path]) -> list[Path]:
        """Return those of some files that are photos of this folder, under whatever name."""
        existing = [path for path in files if path.is_file()]
        if not existing or not self.path.is_dir():
            return []
        inside = {identity(self.path / name): name for name in self.paths()}
        known = {path: inside.get(identity(path)) for path in existing}
        return [path for path, name in known.items() if name and self._is_photo(name)]

    def read(self, name: str) -> bytes:
        """Return the bytes of a photo.

        Args:
            name: One of its names.

        Raises:
            UserError: The photo does not exist, is damaged in the archive, or its name is unsafe.
        """
        check_name(name, self.path)
        if name not in self._paths:
            raise UserError(f"{self.path}: no photo {name!r} in it")
        path = self._paths[name]
        try:
            with self._open(path) as stream:
                return stream.read()
        except ZIP_ERRORS as error:
            reason = getattr(error, "strerror", None) or error
            if isinstance(error, FileNotFoundError) and (self.path / path).is_symlink():
                reason = "a link to a file that does not exist"
            raise UserError(
                f"{self.path}: cannot read {name!r} ({reason}); fetch the photos again"
            ) from None

    def _is_photo(self, path: str) -> bool:
        if _claims_a_photo(path):
            return True
        try:
            with self._open(path) as stream:
                return _is_image(stream)
        except (UserError, *ZIP_ERRORS):
            return True  # nobody knows, so it must not be left out: `read` says what is wrong

    def _open(self, path: str) -> IO[bytes]:
        check_name(path, self.path)
        if self.path.is_dir():
            return (self.path / path).open("rb")
        # A forked worker must not share its parent's file offset.
        if self._archive is None or self._owner != os.getpid():
            self._archive, self._owner = open_zip(self.path), os.getpid()
        return self._archive.open(path)


def _members(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the files in a zip, and those that are left out by the reason."""
    with open_zip(path) as archive:
        files = [member.filename for member in archive.infolist() if not member.is_dir()]
    hidden = sorted(filter(is_hidden, files))
    return [name for name in files if not is_hidden(name)], {"hidden": hidden} if hidden else {}


def _claims_a_photo(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this installation reads, after loading their readers."""
    Image.init()
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return _FORMATS
    pillow_heif.register_heif_opener()
    return (*_FORMATS, "HEIF")


def _is_image(stream: IO[bytes]) -> bool:
    """Return whether a file begins like an image in a format that is read, damaged or not."""
    start = stream.read(16)
    if _has_signature(start):
        return True
    stream.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(stream, formats=_SHORT_SIGNATURES)
        return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # whatever Pillow raises on a text
        return False


def _has_signature(start: bytes) -> bool:
    # HEIC is recognised without its reader too. Pillow's plug-ins recognise the other formats.
    tests = (Image.OPEN[name][1] for name in _formats() if name not in _SHORT_SIGNATURES)
    return start[4:].startswith((b"ftyphei", b"ftyphev", b"ftypmif1")) or any(
        accepts(start) for accepts in tests if accepts is not None
    )


def decode(data: bytes, where: str) -> Image.Image:
    """Decode a photo completely to an upright RGB image.

    EXIF orientation is applied, what is transparent is laid on white, and 16-bit grey is scaled to
    8. Of an animation the first frame is decoded, and of several photos in one file the main one.

    Args:
        data: The bytes of the file.
        where: File or image id, with which messages begin.

    Returns:
        The image.

    Raises:
        BadImage: The data are empty, no image or truncated, a side is smaller than
            `photo_pixels.MIN_SIDE`, or the image exceeds Pillow's limit on decompression bombs.
    """
    if not data:
        raise BadImage(f"{where}: empty file (0 bytes); fetch it again")
    try:
        with warnings.catch_warnings():
            # These concern metadata that nothing here reads, and do not name the file.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_formats())
            pixels = upright_rgb(image, where)
            check_whole(data, image.format)
            return pixels
    except (BadImage, MemoryError):  # lack of memory is no fault of the photo
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(f"{where}: {_why_unidentified(data)}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadImage(
            f"{where}: over {Image.MAX_IMAGE_PIXELS:,} pixels, possibly a decompression bomb;"
            " scale it down"
        ) from None
    except Exception as error:
        # On damaged files Pillow raises a dozen types, from SyntaxError to struct.error.
        raise BadImage(f"{where}: truncated or damaged ({error}); fetch it again") from None


def _why_unidentified(data: bytes) -> str:
    if not _has_signature(data[:16]):
        return f"not an image in any of the formats {', '.join(_formats())}"
    if "HEIF" not in _formats() and data[4:8] == b"ftyp":
        return "HEIC is read by pillow-heif, which is not installed: `pip install pillow-heif`"
    return "truncated or damaged (its header cannot be read); fetch it again"
