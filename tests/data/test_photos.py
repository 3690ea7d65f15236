import io
import multiprocessing
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.data.photos import MIN_SIDE, BadImage, PhotoSource, decode

WIDTH, HEIGHT = 24, 16
RED = (255, 0, 0)


def encode(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def solid(mode: str, colour) -> Image.Image:
    return Image.new(mode, (WIDTH, HEIGHT), colour)


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    )


def turned() -> Image.Exif:
    """Return the EXIF data of a turned camera: upright is 90 degrees clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


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
    ],
)
def test_decodes_every_mode_to_rgb(data, colour):
    image = decode(data, "x")
    assert (image.mode, image.size) == ("RGB", (WIDTH, HEIGHT))
    np.testing.assert_allclose(image.getpixel((0, 0)), colour, atol=2)


def test_keeps_the_opaque_colours_of_a_transparent_palette():
    assert decode(palette_with_transparency(), "x").getpixel((1, 0)) == (0, 0, 255)


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
    originals = [encode(noise(16), kind) for kind in ("jpeg", "png", "gif", "webp", "tiff", "bmp")]
    refused = 0
    for trial in range(600):
        data = bytearray(originals[trial % len(originals)])
        for position in rng.integers(0, min(len(data), 200), 6):
            data[position] = rng.integers(256)
        try:
            assert decode(bytes(data), "x").mode == "RGB"
        except BadImage:
            refused += 1
    assert 0 < refused < 600


@pytest.fixture(params=["folder", "flat zip", "zip with a leading folder"])
def source(request, tmp_path) -> PhotoSource:
    if request.param == "folder":
        folder = tmp_path / "train2014"
        folder.mkdir()
        for i in range(3):
            (folder / f"{i}.jpg").write_bytes(b"photo %d" % i)
        (folder / ".DS_Store").touch()
        return PhotoSource(folder)
    leading = "train2014/" if request.param == "zip with a leading folder" else ""
    with zipfile.ZipFile(tmp_path / "train2014.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"{leading}{i}.jpg", b"photo %d" % i)
        archive.writestr("__MACOSX/._0.jpg", b"resource fork")
    return PhotoSource(tmp_path / "train2014.zip")


def test_reads_photos_by_name(source):
    assert source.names() - {f"train2014/{i}.jpg" for i in range(3)} == {"0.jpg", "1.jpg", "2.jpg"}
    assert [source.read(f"{i}.jpg") for i in range(3)] == [b"photo 0", b"photo 1", b"photo 2"]
    assert all(source.read(name) == b"photo " + Path(name).stem.encode() for name in source.names())


def test_an_absent_photo_is_reported_with_its_source(source):
    with pytest.raises(UserError, match=r"train2014.*'7\.jpg'"):
        source.read("7.jpg")


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "..\\b.jpg", "C:\\b.jpg"]
)
def test_unsafe_names_are_refused(source, name):
    with pytest.raises(UserError, match="unsafe file name"):
        source.read(name)


def test_names_keep_their_folders_where_there_are_several(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.jpg").write_bytes(folder.encode())
    source = PhotoSource(tmp_path)
    assert source.names() == {"a/0.jpg", "b/0.jpg"}
    assert source.read("b/0.jpg") == b"b"


_SHARED: list[PhotoSource] = []  # inherited by forked workers


def read_shared(name: str) -> bytes:
    return _SHARED[0].read(name)


def test_forked_workers_share_a_source(tmp_path, monkeypatch):
    photos = {
        f"{i}.jpg": np.random.default_rng(i).bytes(100_000) for i in range(20)
    }  # far beyond one read buffer
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name, data in photos.items():
            archive.writestr(name, data)
    source = PhotoSource(tmp_path / "photos.zip")
    source.read("0.jpg")  # opens the file before the fork
    monkeypatch.setattr(f"{__name__}._SHARED", [source])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(read_shared, [*photos] * 10, chunksize=1) == [*photos.values()] * 10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "no such folder or zip"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "not a zip, or truncated"),
        (lambda path: path.write_bytes(b"<html>moved</html>"), "not a zip, or truncated"),
        (lambda path: path.write_bytes(b""), "not a zip, or truncated"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"photo", b"ph0t0")),
            "cannot read '0.jpg'",
        ),
        (lambda path: zipfile.ZipFile(path, "a").writestr("../evil.jpg", b"x"), "unsafe file name"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "no photos"),
    ],
)
def test_broken_sources_are_refused(tmp_path, change, reason):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.jpg", b"photo 0")
    change(path)
    with pytest.raises(UserError, match=reason) as error:
        PhotoSource(path).read("0.jpg")
    assert str(path) in str(error.value)


def test_all_real_photos_decode(real_data):
    source = PhotoSource(real_data / "photos" / "coco_96px.zip")
    sizes = [decode(source.read(name), name).size for name in sorted(source.names())]
    assert len(sizes) == 838
    assert {min(size) for size in sizes} == {96}


def test_lack_of_memory_is_not_reported_as_a_damaged_photo(monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(MemoryError):
        decode(b"x", "photo")
