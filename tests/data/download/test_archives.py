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


def test_extracts_only_absent_files(archive, tmp_path):
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
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_each_flipped_byte_is_detected_or_harmless(tmp_path, compression):
    """This holds for each compression method, and for a name that is no longer UTF-8."""
    path, photo = tmp_path / "photos.zip", bytes(range(64))
    with zipfile.ZipFile(path, "w", compression) as opened:
        opened.writestr("\u00e9.jpg", photo)
    intact = path.read_bytes()
    for at in range(len(intact)):
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 0xFF]) + intact[at + 1 :])
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


def test_extracts_only_the_wanted_members(archive, tmp_path):
    extract(archive, tmp_path / "data", ["annotations/b.json"])
    assert tree(tmp_path / "data") == {"annotations/b.json": b"B" * 1000}
    with pytest.raises(
        UserError,
        match=r"annotations\.zip: contains no annotations/c\.json; is it the right archive",
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


def test_a_member_larger_than_announced_is_refused(tmp_path):
    """A bomb with a false table of contents is cut at the announced size; its checksum differs."""
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
def test_a_repeated_name_is_refused(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("annotations/a.json", b"another")
    with pytest.raises(UserError, match="contains a name twice"):
        extract(archive, tmp_path / "data")


def test_a_disk_without_room_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
    with pytest.raises(UserError, match="GB free on this disk"):
        extract(archive, tmp_path / "data")


def test_damage_leaves_nothing_behind(archive, tmp_path):
    archive.write_bytes(archive.read_bytes().replace(b"B" * 1000, b"C" * 1000))
    with pytest.raises(UserError, match=r"annotations\.zip: cannot extract"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]


def test_other_files_than_zips_are_refused(tmp_path):
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


def test_a_file_in_the_place_of_a_folder_is_kept(archive, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "annotations").write_text("mine")
    with pytest.raises(
        UserError, match=r"data/annotations: in the place of a folder of .*annotations\.zip"
    ):
        extract(archive, tmp_path / "data")
    assert tree(tmp_path / "data") == {"annotations": b"mine"}


def test_a_full_disk_is_not_reported_as_a_damaged_archive(archive, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(OSError, match="No space left"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]
