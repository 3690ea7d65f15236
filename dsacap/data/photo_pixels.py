"""Pixels of any kind of image, converted to upright 8-bit RGB."""

import numpy as np
from PIL import Image, ImageOps

from dsacap.common.errors import UserError

MIN_SIDE = 8  # pixels

Colour = int | tuple[int, ...] | bytes  # a level, three, or the opacity of each colour of a palette


class BadImage(UserError):
    """An error for what is not a usable photo."""


def upright_rgb(image: Image.Image, where: str) -> Image.Image:
    """Convert an open image, which stays as it is, to upright RGB.

    EXIF orientation is applied, what is transparent is laid on white, and 16-bit grey is scaled to
    8.

    Args:
        image: The image; its pixels may still have to be decoded.
        where: The name of the image, with which messages begin.

    Returns:
        The converted image.

    Raises:
        BadImage: A side is smaller than `MIN_SIDE`, or the range of the levels is unknown.
        Exception: The pixels are damaged; Pillow raises a dozen types, from SyntaxError to
            struct.error.
    """
    if min(image.size) < MIN_SIDE:
        raise BadImage(
            f"{where}: {image.width}x{image.height} pixels; each side needs at least {MIN_SIDE}"
        )
    transparent = _transparent_colour(image)
    image.load()  # now, since _upright would hide an error in the pixels
    return _to_rgb(_upright(image), transparent, where)


def from_image(image: Image.Image, where: str) -> Image.Image:
    """Convert a user's image as `upright_rgb` does.

    Raises:
        BadImage: It cannot be converted; the message says why.
    """
    try:
        return upright_rgb(image, where)
    except (BadImage, MemoryError):  # lack of memory is no fault of the photo
        raise
    except Exception as error:  # of many types, as above
        raise BadImage(f"{where}: an image that cannot be read ({error})") from None


def from_array(array: np.ndarray, where: str) -> Image.Image:
    """Convert an array of grey levels, RGB or RGBA to RGB.

    Args:
        array: uint8 of the shape (height, width), (height, width, 1), (height, width, 3) or
            (height, width, 4), or uint16 of one of the first two.
        where: The name of the array, with which messages begin.

    Raises:
        BadImage: It has another type or shape, or a side is smaller than `MIN_SIDE`.
    """
    levels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    grey = levels.ndim == 2 and levels.dtype in (np.uint8, np.uint16)
    colour = levels.ndim == 3 and levels.shape[2] in (3, 4) and levels.dtype == np.uint8
    if not grey and not colour:
        raise BadImage(
            f"{where}: an array of {array.dtype} in the shape {array.shape}; give levels from 0 to"
            " 255 as uint8, in the shape (height, width) for grey, (height, width, 3) for RGB or"
            " (height, width, 4) for RGBA"
        )
    if min(levels.shape[:2]) == 0:
        raise BadImage(f"{where}: an array without pixels, in the shape {array.shape}")
    return upright_rgb(Image.fromarray(levels), where)


def _transparent_colour(image: Image.Image) -> Colour | None:
    """Return a PNG's transparent colour in the levels that its pixels will have.

    Pillow scales the pixels of 2, 4 and 16 bits to 8, but not this colour. The depth is known as
    long as the pixels are not decoded. Of 16-bit RGB Pillow keeps the higher 8 bits of each
    channel, so all colours that share these with the transparent one are transparent.
    """
    colour, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if colour is None or image.format != "PNG":
        return None
    if image.mode == "I;16" or not tiles:
        return colour
    raw_mode, highest = tiles[0].args, {"L;2": 3, "L;4": 15, "L": 255}
    if raw_mode in highest:  # the format uses as many bits of the colour as a pixel has
        return (colour & highest[raw_mode]) * (255 // highest[raw_mode])
    return tuple(level >> 8 for level in colour) if raw_mode == "RGB;16B" else colour


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # Of many types, as above. Without readable EXIF data there is no orientation to apply, and
        # the pixels are intact.
        return image.copy()


def _to_rgb(image: Image.Image, transparent: Colour | None, where: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow would clip these at 255
        levels = np.asarray(image)
        grey = _scale_16_bit(levels, where)
        if transparent is not None:
            grey[levels == transparent] = 255
        return Image.fromarray(grey).convert("RGB")
    if transparent is not None:
        image.info["transparency"] = transparent
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _scale_16_bit(grey: np.ndarray, where: str) -> np.ndarray:
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise BadImage(
            f"{where}: grey levels beyond 16 bits, of unknown range; convert it to 8 bits"
        )
    return np.round(grey / 257).astype(np.uint8)  # 65535 = 255 * 257
