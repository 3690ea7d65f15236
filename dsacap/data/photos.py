"""Photos, read in place from a folder or a zip, and decoded to RGB or refused with the reason."""

import io
import os
import posixpath
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dsacap.common.errors import UserError
from dsacap.common.files import ZIP_ERRORS

MIN_SIDE = 8  # pixels
# The most bytes of a name in usual file systems, and the most characters of a path, which leave
# room for the folder above it.
_LONGEST_NAME, _LONGEST_PATH = 255, 2000
# Not all that Pillow reads: its EPS reader runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


class BadImage(UserError):
    """An error for a file that is not a usable photo."""


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


class PhotoSource:
    """The photos of one folder or zip, which is read without extraction.

    A photo is named by its path inside. If all photos share a leading folder, as in COCO's
    train2014.zip, which contains `train2014/COCO_train2014_....jpg`, the path below it is also a
    name. Hidden files, such as macOS leaves in archives, are ignored. Forked worker processes may
    share a source.

    Args:
        path: The folder or zip.

    Raises:
        UserError: It does not exist, is damaged, contains an unsafe name, or contains no photos.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path}: no such folder or zip of photos")
        names = [n for n in self._list() if not posixpath.basename(n).startswith(".")]
        if not names:
            raise UserError(f"{self.path}: no photos in it")
        leading = posixpath.commonpath([posixpath.dirname(name) for name in names])
        self._paths = {posixpath.relpath(name, leading): name for name in names} | {
            name: name for name in names
        }
        self._archive: zipfile.ZipFile | None = None
        self._owner: int | None = None  # the process that opened the archive

    def names(self) -> set[str]:
        """Return every name that `read` accepts."""
        return set(self._paths)

    def paths(self) -> list[str]:
        """Return the path of every photo inside, in alphabetical order."""
        return sorted(set(self._paths.values()))

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
        try:
            if self.path.is_dir():
                return (self.path / self._paths[name]).read_bytes()
            return self._zip().read(self._paths[name])
        except ZIP_ERRORS as error:
            raise UserError(
                f"{self.path}: cannot read {name!r} ({error}); fetch the photos again"
            ) from None

    def _list(self) -> list[str]:
        if not self.path.is_dir():
            with open_zip(self.path) as archive:
                return [member.filename for member in archive.infolist() if not member.is_dir()]
        walk = (
            (Path(folder).relative_to(self.path), files) for folder, _, files in os.walk(self.path)
        )
        return [(folder / file).as_posix() for folder, files in walk for file in files]

    def _zip(self) -> zipfile.ZipFile:
        # A forked worker must not share its parent's file offset.
        if self._archive is None or self._owner != os.getpid():
            self._archive, self._owner = open_zip(self.path), os.getpid()
        return self._archive


def decode(data: bytes, where: str) -> Image.Image:
    """Decode a photo completely to an upright RGB image.

    EXIF orientation is applied, alpha is composited over white, and 16-bit grey is scaled to 8. Of
    an animation the first frame is decoded.

    Args:
        data: The bytes of the file.
        where: File or image id, with which messages begin.

    Returns:
        The image.

    Raises:
        BadImage: The data are empty, no image or truncated, a side is smaller than `MIN_SIDE`, or
            the image exceeds Pillow's limit on decompression bombs.
    """
    if not data:
        raise BadImage(f"{where}: empty file (0 bytes); fetch it again")
    try:
        with warnings.catch_warnings():
            # These concern metadata that nothing here reads, and do not name the file.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if min(image.size) < MIN_SIDE:
                raise BadImage(
                    f"{where}: {image.width}x{image.height} pixels;"
                    f" each side needs at least {MIN_SIDE}"
                )
            image.load()  # now, since _upright would hide an error in the pixels
            return _to_rgb(_upright(image), where)
    except (BadImage, MemoryError):  # lack of memory is no fault of the photo
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(
            f"{where}: not an image in any of the formats {', '.join(_FORMATS)}"
        ) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadImage(
            f"{where}: over {Image.MAX_IMAGE_PIXELS:,} pixels, possibly a decompression bomb;"
            " scale it down"
        ) from None
    except Exception as error:
        # On damaged files Pillow raises a dozen types, from SyntaxError to struct.error.
        raise BadImage(f"{where}: truncated or damaged ({error}); fetch it again") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # Of many types, as above. Without readable EXIF data there is no orientation to apply, and
        # the pixels are intact.
        return image


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow would clip these at 255
        image = _scale_16_bit(np.asarray(image), where)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _scale_16_bit(grey: np.ndarray, where: str) -> Image.Image:
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise BadImage(
            f"{where}: grey levels beyond 16 bits, of unknown range; convert it to 8 bits"
        )
    return Image.fromarray(np.round(grey / 257).astype(np.uint8))  # 65535 = 255 * 257
