"""Folders and zips of photos, and which of the files in them are photos."""

import multiprocessing
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.data.photo_pixels import BadImage
from dsacap.data.photos import PhotoSource, decode, is_source
from small_photos import encode, noise


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
