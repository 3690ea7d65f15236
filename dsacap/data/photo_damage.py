"""Damage of photos that Pillow decodes all the same, with wrong pixels."""

import io
import re

from PIL import Image

# In a scan of a JPEG, 0xFF begins a marker unless one of these follows.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB\x60\x82"  # with its checksum
_TILE_PART = b"\xff\x90\x00\x0a"


def check_whole(data: bytes, kind: str | None) -> None:
    """Check what decoding leaves unchecked: PNG's checksums, and the ends of JPEG and JPEG 2000.

    The checksum of the last part of a PNG's pixels is not looked at by Pillow, and neither is what
    follows it. A JPEG whose end was overwritten, as in a file that was laid out before its
    download, has enough bytes to be decoded. A JPEG 2000 cut off after its header is a grey image.

    Args:
        data: The bytes of a photo that could be decoded.
        kind: Its format, as Pillow names it.

    Raises:
        Exception: They are damaged; of PNGs, Pillow raises several types.
    """
    if kind == "PNG":
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        if _PNG_END not in data:
            raise ValueError("its end is missing")
    if kind in ("JPEG", "MPO") and not _jpeg_ends(data):
        raise ValueError("its end is missing")
    if kind == "JPEG2000" and _TILE_PART not in data:
        raise ValueError("its pixels are missing")


def _jpeg_ends(data: bytes) -> bool:
    """Return whether a JPEG has the marker of its end after the last scan.

    Whatever follows that marker, such as the film of a phone's moving photo, does not matter.
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = found[0], found.end()
        if marker == _END:
            return True
        # Segments have a length. After a scan's own header its pixels follow, up to a marker.
        at += int.from_bytes(data[at : at + 2])
    return False
