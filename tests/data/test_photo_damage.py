"""Photos that are unusable or damaged are refused with the reason."""

import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from dsacap.data.photo_pixels import MIN_SIDE, BadImage
from dsacap.data.photos import decode
from small_photos import encode, noise, solid, turned


def png_claiming(side: int) -> bytes:
    """Return a small PNG whose header claims side x side pixels."""
    data = bytearray(encode(solid("L", 0)))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zipfile.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"404 Not Found\n" * 20, "not an image"),
        (encode(noise(), "jpeg")[:-100], "truncated"),
        (encode(noise(), "jpeg", exif=turned())[:-100], "truncated"),
        (encode(noise())[:2000], "truncated"),
        (encode(noise(), "webp")[:-100], "truncated"),
        (encode(noise(), "avif")[:-100], "truncated"),
        (encode(noise(), "jpeg2000")[:-100], "truncated"),
        (encode(noise(), "gif")[:100], "truncated"),
        (encode(noise(), "tiff")[:100], "truncated"),
        (encode(noise(), "jpeg")[:20], "truncated"),
        (encode(noise())[:20], "truncated"),
        (encode(Image.new("RGB", (1, 1))), "1x1 pixels"),
        (encode(Image.new("RGB", (100, MIN_SIDE - 1))), "100x7 pixels"),
        (png_claiming(10_000), "bomb"),
        (png_claiming(60_000), "bomb"),
        (encode(solid("F", 0.5), "tiff"), "unknown range"),
        (encode(noise(), "eps"), "not an image"),
    ],
)
def test_unusable_photos_are_refused_with_the_reason(data, reason):
    with pytest.raises(BadImage, match=reason) as error:
        decode(data, "train2014/x.jpg (image id 123)")
    assert str(error.value).startswith("train2014/x.jpg (image id 123): ")


def test_random_damage_raises_no_other_error_than_a_refusal():
    rng = np.random.default_rng(0)
    kinds = ("jpeg", "png", "gif", "webp", "tiff", "bmp", "avif", "jpeg2000")
    originals = [encode(noise(16), kind) for kind in kinds]
    refused = 0
    for trial in range(800):
        data = bytearray(originals[trial % len(originals)])
        for position in rng.integers(0, min(len(data), 200), 6):
            data[position] = rng.integers(256)
        try:
            assert decode(bytes(data), "x").mode == "RGB"
        except BadImage:
            refused += 1
    assert 0 < refused < 800


def test_lack_of_memory_is_not_reported_as_a_damaged_photo(monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(MemoryError):
        decode(b"x", "photo")


def smooth() -> Image.Image:
    """Return a photo that packs well, so that few bytes are many pixels."""
    return Image.linear_gradient("L").convert("RGB")


@pytest.mark.parametrize("lost", [1, 4, 15, 40])
@pytest.mark.parametrize("image", [noise(), smooth()])
def test_a_png_whose_pixels_lost_bytes_is_refused(image, lost):
    data = encode(image)
    end = data[-16:]  # the checksum of the pixels, and the last chunk
    with pytest.raises(BadImage, match=r"^x: truncated or damaged"):
        decode(data[: -16 - lost] + end, "x")
    # All pixels are there, and yet nobody can know that they are right.
    with pytest.raises(BadImage, match=r"^x: truncated or damaged"):
        decode(data[:-lost], "x")


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"exif": turned()}])
@pytest.mark.parametrize("image", [noise(), smooth()])
def test_a_jpeg_whose_end_was_never_written_is_refused(image, how):
    """A file laid out before its download has zeros where that did not come."""
    data = encode(image, "jpeg", **how)
    for left in (0.5, 0.9, 0.999):
        begun = data[: int(left * len(data))]
        with pytest.raises(BadImage, match=r"^x: truncated or damaged"):
            decode(begun.ljust(len(data), b"\0"), "x")
    film = b"\0\0\0\x18ftypmp42" + data[:-2]
    np.testing.assert_array_equal(decode(data + film, "x"), decode(data, "x"))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *(("jpeg", {"progressive": it}) for it in (False, True)),
        *(("webp", {"lossless": it}) for it in (False, True)),
        *(("jpeg2000", {"no_jp2": it}) for it in (False, True)),
        *(("tiff", {"compression": it}) for it in (None, "jpeg", "tiff_lzw", "packbits")),
        *((kind, {}) for kind in ("png", "gif", "bmp", "ppm", "avif")),
    ],
)
def test_a_photo_cut_off_anywhere_is_refused(kind, how):
    """Only the last two bytes of a GIF, its end, say nothing of its pixels."""
    data = encode(noise(16), kind, **how)
    spare = 2 if kind == "gif" else 0
    for end in range(1, len(data) - spare):
        with pytest.raises(BadImage):
            decode(data[:end], "x")
