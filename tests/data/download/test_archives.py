import errno
import shutil
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsacap.common.errors import UserError
from dsacap.data.download.archives import extract
from dsacap.data.photos import PhotoSource


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / "annotations.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.mkdir("annotations")
        opened.writestr("annotations/a.json", b"A" * 1000)
        opened.writestr("annotations/b.json", b"B" * 1000)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


WHOLE = {"annotations/a.json": b"A" * 1000, "annotations/b.json": b"B" * 1000}


def test_extracts(archive, tmp_path):
    extract(archive, tmp_path / "new" / "data")
    assert tree(tmp_path / "new") == {f"data/{name}": content for name, content in WHOLE.items()}


def test_extracts_only_what_is_not_there(archive, tmp_path):
    folder = tmp_path / "data"
    extract(archive, folder)
    (folder / "annotations" / "b.json").unlink()
    (folder / "mine.txt").write_bytes(b"mine")
    before = (folder / "annotations" / "a.json").stat().st_ino
    extract(archive, folder)
    assert tree(folder) == WHOLE | {"mine.txt": b"mine"}
    assert (folder / "annotations" / "a.json").stat().st_ino == before


@pytest.mark.parametrize("content", [b"A" * 999 + b"x", b"mine"])
def test_an_extracted_file_that_differs_is_kept(archive, tmp_path, content):
    folder = tmp_path / "data"
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "b.json").write_bytes(content)
    with pytest.raises(UserError, match=r"b\.json: differs"):
        extract(archive, folder)
    assert tree(folder) == {"annotations/b.json": content}


@pytest.mark.parametrize(
    "way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_each_byte_flipped_is_noticed_or_harmless(tmp_path, way):
    """However it is packed; a name that is no UTF-8 any more included."""
    path, photo = tmp_path / "photos.zip", bytes(range(64))
    with zipfile.ZipFile(path, "w", way) as opened:
        opened.writestr("\u00e9.jpg", photo)
    sound = path.read_bytes()
    for at in range(len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :])
        try:
            source = PhotoSource(path)
            read = {source.read(name) for name in source.names()}
        except UserError as error:
            assert "photos.zip" in str(error)
        else:
            assert read == {photo}
        folder = tmp_path / "out" / str(at)
        try:
            extract(path, folder)
        except UserError as error:
            assert "photos.zip" in str(error)
            assert not folder.exists()
        else:
            assert set(tree(folder).values()) <= {photo}


def test_extracts_what_is_wanted(archive, tmp_path):
    extract(archive, tmp_path / "data", ["annotations/b.json"])
    assert tree(tmp_path / "data") == {"annotations/b.json": b"B" * 1000}
    with pytest.raises(
        UserError, match=r"annotations\.zip: holds no annotations/c\.json; is it the right archive"
    ):
        extract(archive, tmp_path / "data", ["annotations/c.json"])


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_unsafe_names_are_refused(archive, tmp_path, name):
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, b"x")
    with pytest.raises(UserError, match="unsafe file name"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]


def test_links_are_refused(archive, tmp_path):
    link = zipfile.ZipInfo("annotations/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"link 'annotations/link'"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]


def test_bombs_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros", bytes(50 * 2**20))
    with pytest.raises(UserError, match=r"bomb\.zip: 0\.1 GB unpacked, over 200 times its size"):
        extract(tmp_path / "bomb.zip", tmp_path / "data")
    assert list(tmp_path.iterdir()) == [tmp_path / "bomb.zip"]


def test_a_member_is_no_larger_than_it_says(tmp_path):
    """A bomb whose table of contents lies: what is unpacked ends at the announced size, and its checksum tells."""
    with zipfile.ZipFile(tmp_path / "liar.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros", bytes(50 * 2**20))
    size = (50 * 2**20).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(
        (tmp_path / "liar.zip").read_bytes().replace(size, (1000).to_bytes(4, "little"))
    )
    with pytest.raises(UserError, match="cannot extract it"):
        extract(tmp_path / "liar.zip", tmp_path / "data")
    assert list(tmp_path.iterdir()) == [tmp_path / "liar.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("annotations/a.json", b"another")
    with pytest.raises(UserError, match="holds a name twice"):
        extract(archive, tmp_path / "data")


def test_no_room_for_what_is_in_it(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
    with pytest.raises(UserError, match="GB free on this disk"):
        extract(archive, tmp_path / "data")


def test_damage_leaves_nothing_behind(archive, tmp_path):
    archive.write_bytes(archive.read_bytes().replace(b"B" * 1000, b"C" * 1000))
    with pytest.raises(UserError, match=r"annotations\.zip: cannot extract"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"<html>moved</html>")
    with pytest.raises(UserError, match=r"x\.zip: not a zip"):
        extract(tmp_path / "x.zip", tmp_path / "data")


@pytest.mark.parametrize(
    "names", [[""], ["."], ["a" * 256], ["a/" * 1100 + "a"], ["a", "a/b"], ["a/b", "a//b"]]
)
def test_names_that_no_file_can_have_are_refused(archive, tmp_path, names):
    with zipfile.ZipFile(archive, "a") as opened:
        for name in names:
            member = zipfile.ZipInfo("x")
            member.filename = name
            opened.writestr(member, b"x")
    with pytest.raises(UserError, match=r"annotations\.zip: refusing"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_file_where_a_folder_belongs_is_kept(archive, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "annotations").write_text("mine")
    with pytest.raises(
        UserError, match=r"data/annotations: stands where .*annotations\.zip has a folder"
    ):
        extract(archive, tmp_path / "data")
    assert tree(tmp_path / "data") == {"annotations": b"mine"}


def test_a_full_disk_is_not_the_archives_fault(archive, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(OSError, match="No space left"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]
