"""Photos: read in place from a folder or a zip, and decoded to RGB or refused with the reason."""

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
_LONGEST_NAME, _LONGEST_PATH = (
    255,
    2000,
)  # bytes that file systems know, and room for the folder that it goes to
_FORMATS = (
    "JPEG",
    "PNG",
    "GIF",
    "WEBP",
    "BMP",
    "TIFF",
    "PPM",
)  # not all of Pillow's: its EPS reader runs Ghostscript


class BadImage(UserError):
    """A file that is not a usable photo."""


def check_name(name: str, where: Path) -> None:
    """UserError if `name` is absolute, climbs with `..`, in the notation of Unix or of Windows, or is none that a file can have."""
    parts = re.split(r"[/\\]", name)
    if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in parts:
        raise UserError(
            f"{where}: refusing the unsafe file name {name!r}; names must be relative and without '..'"
        )
    if (
        not name.strip("./")
        or "\0" in name
        or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME
        or len(name) > _LONGEST_PATH
    ):
        raise UserError(f"{where}: refusing {name[:80]!r}, which is no name of a file")


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip at `path`, open for reading; UserError if it is absent, broken or holds an unsafe name."""
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
    """The photos of one folder or zip (read without extraction).

    A photo goes by its path inside, and also by its path below the leading folder when all share one, as in COCO's train2014.zip,
    which holds `train2014/COCO_train2014_....jpg`. Hidden files, such as macOS leaves in archives, are no photos. Forked worker
    processes may share a source.
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
        self._archive, self._owner = None, None

    def names(self) -> set[str]:
        """Every name that `read` knows."""
        return set(self._paths)

    def paths(self) -> list[str]:
        """The path of every photo inside, in order."""
        return sorted(set(self._paths.values()))

    def read(self, name: str) -> bytes:
        """The bytes of a photo; UserError if it is absent or damaged in the archive, or its name is unsafe."""
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
        if self._owner != os.getpid():  # a forked worker must not share its parent's file offset
            self._archive, self._owner = open_zip(self.path), os.getpid()
        return self._archive


def decode(data: bytes, where: str) -> Image.Image:
    """Decodes a photo fully, its first frame if animated, to an upright RGB image.

    EXIF orientation is applied, alpha composited over white, 16-bit grey scaled to 8. Raises BadImage, starting with `where`, for
    what is empty, no image, truncated, smaller than MIN_SIDE on a side, or larger than Pillow's limit on decompression bombs.
    """
    if not data:
        raise BadImage(f"{where}: empty file (0 bytes); fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # about metadata that nothing here reads, and without the file's name
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if min(image.size) < MIN_SIDE:
                raise BadImage(
                    f"{where}: {image.width}x{image.height} pixels; each side needs at least {MIN_SIDE}"
                )
            image.load()  # here, since _upright would swallow what is wrong with the pixels
            return _to_rgb(_upright(image), where)
    except (BadImage, MemoryError):  # of want of memory the photo is not guilty
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(
            f"{where}: not an image in any of the formats {', '.join(_FORMATS)}"
        ) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadImage(
            f"{where}: over {Image.MAX_IMAGE_PIXELS:,} pixels, which may be a decompression bomb; scale it down"
        ) from None
    except (
        Exception
    ) as error:  # on damaged files Pillow raises a dozen types, from SyntaxError to struct.error
        raise BadImage(f"{where}: truncated or damaged ({error}); fetch it again") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above; EXIF data that cannot be read gives no orientation, and the pixels are sound without it
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
