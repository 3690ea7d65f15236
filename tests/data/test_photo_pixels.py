"""Photos of every mode and format become upright RGB."""

import struct
import sys
import zlib

import numpy as np
import pytest

from dsacap.data import photos
from dsacap.data.photo_pixels import BadImage
from dsacap.data.photos import decode
from small_photos import HEIGHT, RED, WIDTH, encode, noise, solid, turned


def palette_with_transparency() -> bytes:
    image = solid("P", 0)
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encode(image, transparency=0)


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (encode(solid("RGB", RED)), RED),
        (encode(solid("RGB", RED), "jpeg", quality=100), RED),
        (encode(solid("CMYK", (0, 255, 255, 0)), "jpeg", quality=100), RED),
        (encode(solid("L", 90)), (90, 90, 90)),
        (encode(solid("1", 1)), (255, 255, 255)),
        (encode(solid("RGB", RED).quantize(4)), RED),
        (encode(solid("LA", (0, 51))), (204, 204, 204)),
        (encode(solid("RGBA", (*RED, 0))), (255, 255, 255)),
        (encode(solid("RGBA", (*RED, 51))), (255, 204, 204)),
        (palette_with_transparency(), (255, 255, 255)),
        (encode(solid("RGB", RED), transparency=RED), (255, 255, 255)),
        (encode(solid("I;16", 0x8080)), (128, 128, 128)),
        (encode(solid("I;16", 65535), "tiff"), (255, 255, 255)),
        (encode(solid("I", 257 * 7), "ppm"), (7, 7, 7)),
        (
            encode(
                solid("RGB", RED), "gif", save_all=True, append_images=[solid("RGB", (0, 0, 255))]
            ),
            RED,
        ),
        (encode(solid("RGB", RED), "webp", lossless=True), RED),
        (encode(solid("RGBA", (*RED, 0)), "webp", lossless=True), (255, 255, 255)),
        (encode(solid("RGB", RED), "avif", quality=100), RED),
        (encode(solid("RGBA", (*RED, 0)), "avif"), (255, 255, 255)),
        (encode(solid("RGB", RED), "jpeg2000"), RED),
        (encode(solid("RGB", RED), "jpeg2000", no_jp2=True), RED),
        (encode(solid("RGBA", (*RED, 0)), "jpeg2000"), (255, 255, 255)),
        (encode(solid("I;16", 0x8080), "jpeg2000"), (128, 128, 128)),
    ],
)
def test_decodes_every_mode_to_rgb(data, colour):
    image = decode(data, "x")
    assert (image.mode, image.size) == ("RGB", (WIDTH, HEIGHT))
    np.testing.assert_allclose(image.getpixel((0, 0)), colour, atol=2)


def test_keeps_the_opaque_colours_of_a_transparent_palette():
    assert decode(palette_with_transparency(), "x").getpixel((1, 0)) == (0, 0, 255)


def png_with_transparent(depth: int, kind: int, levels: list[int], transparent: list[int]) -> bytes:
    """Return a PNG of a level a pixel (or three), of the depth and colour type, which Pillow cannot
    write in all depths.
    """
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8)
    side = len(levels) // (3 if kind == 2 else 1)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, 0),
        b"tRNS": struct.pack(f">{len(transparent)}H", *transparent),
        b"IDAT": zlib.compress(row * side),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


@pytest.mark.parametrize(
    ("depth", "levels", "transparent", "row"),
    [
        (1, [0, 1], 0, [255, 255]),
        (1, [0, 1], 1, [0, 255]),
        (2, [0, 1, 2, 3], 1, [0, 255, 170, 255]),
        (2, [0, 1, 2, 3], 0, [255, 85, 170, 255]),
        (4, [0, 7, 8, 15], 8, [0, 119, 255, 255]),
        (8, [0, 7, 8, 15], 8, [0, 7, 255, 15]),
        (16, [0, 0x8080, 0x8081, 0x4040], 0x8080, [0, 255, 128, 64]),
        (16, [0, 0x8080, 0x8081, 0x4040], 0, [255, 128, 128, 64]),
    ],
)
def test_lays_the_transparent_level_of_grey_pngs_of_every_depth_on_white(
    depth, levels, transparent, row
):
    repeated = levels * (16 // len(levels))
    image = decode(png_with_transparent(depth, 0, repeated, [transparent]), "x")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image)[0, : len(row), 0], row)


@pytest.mark.parametrize(("depth", "scale"), [(8, 1), (16, 257)])
def test_lays_the_transparent_colour_of_rgb_pngs_on_white(depth, scale):
    colours = [10 * scale, 20 * scale, 30 * scale, 10 * scale, 20 * scale, 31 * scale] * 8
    image = decode(png_with_transparent(depth, 2, colours, colours[:3]), "x")
    np.testing.assert_array_equal(np.asarray(image)[5, :2], [[255, 255, 255], [10, 20, 31]])


def test_a_turned_photo_keeps_its_transparent_level():
    image = solid("I;16", 0x4040)
    image.putpixel((0, HEIGHT - 1), 0x8080)
    upright = decode(encode(image, exif=turned(), transparency=0x8080), "x")
    assert upright.size == (HEIGHT, WIDTH)
    assert upright.getpixel((0, 0)) == (255, 255, 255) and upright.getpixel((1, 1)) == (64, 64, 64)


@pytest.fixture
def heic():
    """Return a function that encodes a photo as an iPhone does."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.register_heif_opener()
    return lambda image, **options: encode(image, "heif", quality=100, **options)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_heic_is_read_under_all_its_brands(heic, brand):
    data = heic(solid("RGB", RED))
    assert data[4:12] == b"ftypheic"
    image = decode(data[:8] + brand + data[12:], "x")
    assert (image.mode, image.size) == ("RGB", (WIDTH, HEIGHT))
    np.testing.assert_allclose(image.getpixel((0, 0)), RED, atol=3)


@pytest.mark.parametrize("kind", ["heif", "avif"])
def test_photos_whose_container_turns_them_are_turned_once(heic, kind):
    image = solid("RGB", 0)
    image.paste(RED, (0, HEIGHT - 8, 8, HEIGHT))
    data = encode(image, kind, quality=100, exif=turned().tobytes())
    assert b"irot" in data
    upright = decode(data, "x")
    assert upright.size == (HEIGHT, WIDTH)
    assert upright.getpixel((2, 2))[0] > 200 and upright.getpixel((12, 12))[0] < 50


def test_transparent_heic_is_laid_on_white(heic):
    clear = decode(heic(solid("RGBA", (*RED, 0))), "x")
    np.testing.assert_allclose(clear.getpixel((5, 5)), (255, 255, 255), atol=3)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_truncated_heic_is_refused(heic, share):
    data = heic(noise())
    with pytest.raises(BadImage, match=r"^x: truncated or damaged"):
        decode(data[: int(len(data) * share)], "x")


def test_without_its_reader_heic_is_refused_by_the_name_of_the_package(heic, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photos._formats.cache_clear()
    try:
        with pytest.raises(BadImage, match=r"^x: HEIC is read by pillow-heif, .*pip install"):
            decode(heic(solid("RGB", RED)), "x")
        assert decode(encode(solid("RGB", RED)), "x").getpixel((0, 0)) == RED
    finally:
        photos._formats.cache_clear()


@pytest.mark.parametrize("mode", ["RGB", "P", "I;16"])
def test_applies_exif_orientation(mode):
    image = solid(mode, 0)
    image.putpixel((0, HEIGHT - 1), RED if mode == "RGB" else 200)
    upright, plain = decode(encode(image, exif=turned()), "x"), decode(encode(image), "x")
    assert upright.size == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(plain), -1))


def test_ignores_broken_exif():
    data = encode(noise(), "jpeg", exif=b"Exif\0\0no TIFF header here")
    np.testing.assert_array_equal(
        np.asarray(decode(data, "x")), np.asarray(decode(encode(noise(), "jpeg"), "x"))
    )
