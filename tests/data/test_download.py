import contextlib
import hashlib
import http.server
import re
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dsacap.data import download
from dsacap.data.download import extract, fetch
from dsacap.errors import UserError

CONTENT = np.random.default_rng(0).bytes(5 * 2**20 + 123)
SIZE = len(CONTENT)
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` and notes the ranges asked for; the first `cuts` answers break off after 2 MiB."""

    content = CONTENT
    ranges = True
    cuts = 0
    status = 200
    send_length = True
    content_range: str | None = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        self.send_response(206 if wanted and server.ranges and server.status == 200 else server.status)
        if first:
            span = f"bytes {first}-{len(server.content) - 1}/{len(server.content)}"
            self.send_header("Content-Range", server.content_range or span)
        if server.send_length:
            self.send_header("Content-Length", str(len(server.content) - first))
        self.end_headers()
        rest = server.content[first:]
        if server.cuts:
            server.cuts -= 1
            rest = rest[: 2 * 2**20]
        with contextlib.suppress(ConnectionError):  # the client hangs up on what it does not want
            self.wfile.write(rest)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """The seconds slept between tries, which pass at once."""
    waits: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "file.bin"


def part_of(target: Path) -> Path:
    return target.with_name("file.bin.part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def test_downloads_and_verifies(server, target):
    assert fetch(server.url, target, SIZE, MD5, SHA256) == target
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]
    assert list(target.parent.iterdir()) == [target]


def test_continues_a_part(server, target):
    leave_part(target, CONTENT[:1000])
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_starts_afresh_where_the_server_ignores_ranges(server, target):
    server.ranges = False
    leave_part(target, b"x" * 1000)
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT


def test_goes_on_after_cut_connections(server, target, waits):
    server.cuts = 2
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={2 * 2**20}-", f"bytes={4 * 2**20}-"]
    assert waits == [0, 1, 3]


def test_gives_up_after_a_few_tries_and_keeps_the_part(server, target):
    server.ranges, server.cuts = False, 100
    with pytest.raises(UserError, match=re.escape(server.url)):
        fetch(server.url, target, SIZE, MD5)
    assert len(server.asked) == download.TRIES
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[: 2 * 2**20]


def test_a_short_body_without_a_length_is_noticed(server, target):
    server.send_length, server.cuts = False, 1
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_complete_part_needs_no_network(target):
    leave_part(target, CONTENT)
    fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5)
    assert target.read_bytes() == CONTENT


def test_wrong_bytes_are_removed_and_both_checksums_told(server, target):
    server.content = b"x" * SIZE
    with pytest.raises(UserError, match=f"expected md5 {MD5}, got {hashlib.md5(server.content).hexdigest()}"):
        fetch(server.url, target, SIZE, MD5)
    assert list(target.parent.iterdir()) == []


def test_each_checksum_counts(server, target):
    with pytest.raises(UserError, match=f"expected sha256 {'0' * 64}, got {SHA256}"):
        fetch(server.url, target, SIZE, MD5, "0" * 64)


def test_a_part_that_is_too_long_is_removed(target):
    leave_part(target, CONTENT + b"x")
    with pytest.raises(UserError, match=f"expected {SIZE} bytes, got {SIZE + 1}"):
        fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5)
    assert not part_of(target).exists()


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x"])
@pytest.mark.parametrize("send_length", [True, False])
@pytest.mark.parametrize("part", [b"", CONTENT[:1000]])
def test_a_file_of_another_size_is_refused(server, target, content, send_length, part):
    server.content, server.send_length = content, send_length
    leave_part(target, part)
    with pytest.raises(UserError, match=rf"{SIZE}"):
        fetch(server.url, target, SIZE, MD5)
    assert not target.exists()


def test_an_endless_answer_does_not_fill_the_disk(server, target):
    server.content, server.send_length = CONTENT * 3, False
    with pytest.raises(UserError, match=f"sends more than {SIZE} bytes"):
        fetch(server.url, target, SIZE, MD5)
    assert part_of(target).stat().st_size <= SIZE


def test_a_range_that_was_not_asked_for_is_refused(server, target):
    server.content_range = f"bytes 0-{SIZE - 1}/{SIZE}"
    leave_part(target, CONTENT[:1000])
    with pytest.raises(UserError, match=r"asked for bytes 1000 on"):
        fetch(server.url, target, SIZE, MD5)
    assert part_of(target).read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, download.TRIES)])
def test_a_mirror_stands_in(server, target, status, tries):
    with running_server() as broken:
        broken.status = status
        fetch(broken.url, target, SIZE, MD5, mirrors=[server.url])
    assert (len(broken.asked), len(server.asked)) == (tries, 1)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file.bin", "no-such-scheme"])
def test_unreachable_addresses_are_named(target, url):
    with pytest.raises(UserError, match=re.escape(url)):
        fetch(url, target, SIZE, MD5)


def test_an_existing_file_needs_no_network(target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5.upper()) == target


@pytest.mark.parametrize("content", [b"mine", b"x" * SIZE])
def test_an_existing_file_that_differs_is_kept(server, target, content):
    target.parent.mkdir()
    target.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(str(target))}: .* remove it"):
        fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == content
    assert server.asked == []


def test_a_full_disk_is_noticed_before(server, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=SIZE + download.SPARE - 1))
    with pytest.raises(UserError, match="GB free on this disk"):
        fetch(server.url, target, SIZE, MD5)
    assert server.asked == []
    part_of(target).write_bytes(CONTENT[:1000])  # what is there already needs no more room
    assert fetch(server.url, target, SIZE, MD5) == target


def test_a_download_without_a_checksum_is_refused(server, target):
    with pytest.raises(UserError, match="no checksum"):
        fetch(server.url, target, SIZE)


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / "annotations.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.mkdir("annotations")
        opened.writestr("annotations/a.json", b"A" * 1000)
        opened.writestr("annotations/b.json", b"B" * 1000)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_damage_leaves_nothing_behind(archive, tmp_path):
    archive.write_bytes(archive.read_bytes().replace(b"B" * 1000, b"C" * 1000))
    with pytest.raises(UserError, match=r"annotations\.zip: cannot extract"):
        extract(archive, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [archive]


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"<html>moved</html>")
    with pytest.raises(UserError, match=r"x\.zip: not a zip"):
        extract(tmp_path / "x.zip", tmp_path / "data")
