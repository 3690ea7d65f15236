import io
import multiprocessing
import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.data import photos
from dsacap.data.photo_pixels import MIN_SIDE, BadImage
from dsacap.data.photos import PhotoSource, decode, is_source

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


def test_a_file_that_is_no_photo_takes_no_name_away(tmp_path):
    files = {"train2014/0.jpg": b"photo 0", "README.txt": b"", "train2014/Thumbs.db": b""}
    source = PhotoSource(put(tmp_path / "photos", files))
    assert source.read("0.jpg") == source.read("train2014/0.jpg") == b"photo 0"
    assert source.names() == {"0.jpg", "Thumbs.db", *files}
    assert all(source.read(name) is not None for name in source.names())


@pytest.mark.parametrize("leading", ["./", "./train2014/"])
def test_a_zip_of_the_folder_itself_has_the_names_below_it(tmp_path, leading):
    files = {f"{leading}0.jpg": b"photo 0", f"{leading}1.jpg": b"photo 1"}
    source = PhotoSource(put(tmp_path / "photos.zip", files, as_zip=True))
    assert source.names() == {"0.jpg", "1.jpg", *files}
    assert source.read("1.jpg") == source.read(f"{leading}1.jpg") == b"photo 1"


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


PHOTOS = {
    "a.jpg": encode(noise(), "jpeg"),
    "b.jfif": encode(noise(), "jpeg"),
    "c.jpe": encode(noise(), "jpeg"),
    "d": encode(noise(), "jpeg"),
    "e": encode(noise(), "png"),
    "f": encode(noise(), "gif"),
    "g": encode(noise(), "webp"),
    "h.dat": encode(noise(), "bmp"),
    "i.TXT": encode(noise(), "ppm"),
    "j": encode(noise(), "tiff"),
    "k": encode(noise(), "avif"),
    "l.": encode(noise(), "jpeg2000"),
    "deep/er/m.JPG.part": encode(noise(), "jpeg")[:500],
    "n.heic": b"damaged",
    "o.jpg": b"",
    "p.cr3": b"a format that is not read",
    "q": b"\0\0\0\x18ftypheic" + b"damaged",
}
OTHERS = {
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 9,
    "notes": b"P5 is our best camera",
    "bm.txt": b"BM begins a bitmap too",
    "movie.mp4": b"\0\0\0\x18ftypisom\0\0\2\0",
    "photos.zip": b"PK\3\4",
    "empty": b"",
    "drawing.eps": encode(noise(), "eps"),
    "deep/IMG.jpg.json": b"{}",
}
HIDDEN = {".DS_Store": b"", "deep/._a.jpg": b"\0\5\x16\7", ".photo.jpg": PHOTOS["a.jpg"]}


def put(path: Path, files: dict[str, bytes], as_zip: bool = False) -> Path:
    """Write files to a folder or a zip, and return its path."""
    if as_zip:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize("as_zip", [False, True])
def test_photos_are_told_by_content_or_else_by_name(tmp_path, as_zip):
    source = PhotoSource(put(tmp_path / "photos", PHOTOS | OTHERS | HIDDEN, as_zip))
    contents = source.contents()
    assert contents.photos == sorted(PHOTOS)
    assert contents.left_out == {"no photo": sorted(OTHERS), "hidden": sorted(HIDDEN)}
    assert contents.notes() == [
        "8 left out as no photo: Thumbs.db, bm.txt, deep/IMG.jpg.json, drawing.eps, empty, ..."
        " (8 in all)",
        "3 left out as hidden: .DS_Store, .photo.jpg, deep/._a.jpg",
    ]
    usable = {"a.jpg", "b.jfif", "c.jpe", "d", "e", "f", "g", "h.dat", "i.TXT", "j", "k", "l."}
    for name in contents.photos:
        if name in usable:
            assert decode(source.read(name), name).size == (64, 64)
        else:
            with pytest.raises(BadImage, match=f"^{name}: "):
                decode(source.read(name), name)


def test_an_empty_folder_names_what_is_in_it_all_the_same(tmp_path):
    with pytest.raises(UserError, match=r"no photos in it; 1 left out as hidden: \.DS_Store"):
        PhotoSource(put(tmp_path / "photos", {".DS_Store": b""}))


def test_what_cannot_be_read_is_not_left_out(tmp_path):
    folder = put(tmp_path / "photos", {"a.png": encode(noise())})
    (folder / "gone").symlink_to("nowhere")
    (folder / "circle").symlink_to("circle")
    source = PhotoSource(folder)
    assert source.contents().photos == ["a.png", "circle", "gone"]
    with pytest.raises(UserError, match=r"cannot read 'gone' \(a link to a file that does not"):
        source.read("gone")
    with pytest.raises(UserError, match=r"cannot read 'circle' .*symbolic links"):
        source.read("circle")


def test_linked_photos_are_read_by_both_names(tmp_path):
    put(tmp_path / "elsewhere", {"deep/a.png": encode(noise())})
    folder = put(tmp_path / "photos", {"b.png": encode(noise())})
    (folder / "album").symlink_to(tmp_path / "elsewhere")
    (folder / "c.png").symlink_to("b.png")
    source = PhotoSource(folder)
    assert source.contents().photos == ["album/deep/a.png", "b.png", "c.png"]
    assert source.read("album/deep/a.png") == source.read("c.png") == encode(noise())


def test_a_zip_is_told_by_name_or_content(tmp_path):
    zipped = put(tmp_path / "download", {"a.png": encode(noise())}, as_zip=True)
    assert is_source(zipped) and PhotoSource(zipped).contents().photos == ["a.png"]
    assert is_source(tmp_path) and is_source(Path("absent.ZIP"))
    assert not is_source(put(tmp_path, {"a.png": encode(noise())}) / "a.png")
    assert not is_source(tmp_path / "absent.jpg") and not is_source(Path("zero\0byte"))
    os.mkfifo(tmp_path / "pipe")
    assert not is_source(tmp_path / "pipe")  # and does not wait for a writer


def test_the_photos_of_the_survey(real_data):
    source = PhotoSource(real_data / "scorer" / "photos" / "mixed")
    names = source.contents().photos
    assert names == ["IMG_0001.HEIC", "IMG_0002.HEIC", "noext", "p.avif", "photo.jfif", "plain.jpg"]
    pixels = {name: decode(source.read(name), name).tobytes() for name in names[2:]}
    assert pixels["noext"] == pixels["photo.jfif"] == pixels["plain.jpg"]
    for name in names[:2]:  # the head of a HEIC, and noise
        with pytest.raises(BadImage, match=f"^{name}: (truncated or damaged|HEIC is read by)"):
            decode(source.read(name), name)
