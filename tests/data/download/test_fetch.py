"""Downloads that fail in all ways of a network end in the right bytes or in a clear error."""

import errno
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

import web
from downloaded import CONTENT, FIRST, MD5, SECOND, SHA256, SIZE, THIRD, leave_part, part_of
from dsacap.common.disk import SPARE, check_room
from dsacap.common.errors import UserError
from dsacap.data.download import segments
from dsacap.data.download.fetch import fetch
from web import MIB, Server, serving


def test_downloads_and_verifies(server, target):
    assert fetch(server.url, target, SIZE, MD5, SHA256) == target
    assert target.read_bytes() == CONTENT
    assert sorted(server.asked) == sorted([FIRST, SECOND, THIRD])
    assert list(target.parent.iterdir()) == [target]
    fetch(server.url, target, SIZE, MD5)  # again, without a request
    assert len(server.asked) == 3


def test_segments_are_downloaded_concurrently(server, target):
    server.always = web.stall(1000, 1)
    with pytest.raises(UserError):
        fetch(server.url, target, SIZE, MD5, connections=3)
    assert server.most_at_once == 3
    server.most_at_once, server.always = 0, lambda answer: None
    fetch(server.url, target, SIZE, MD5, connections=1)
    assert server.most_at_once == 1 and target.read_bytes() == CONTENT


RECOVERABLE = {
    "cut once": [web.cut(MIB + 5)],
    "cut in every segment, time and again": [web.cut(MIB + 5)] * 3,
    "cut without a length": [web.cut_without_length(1000)],
    "nothing sent": [web.cut(0)],
    "stalled": [web.stall(MIB), web.stall(0)],
    "dripping": [web.drip(0.02)],
    "ranges ignored": [web.ignore_ranges] * 4,
    "ranges ignored now and then": [lambda answer: None, web.ignore_ranges],
    "another version between segments": [
        lambda answer: None,
        web.other_version,
        lambda answer: None,
    ],
    "overloaded": [web.status(503)] * 2,
    "too many requests": [web.status(429, Retry_After="3")],
    "broken": [web.status(500), web.status(502), web.status(504)],
}


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("faults", RECOVERABLE.values(), ids=RECOVERABLE)
def test_interrupted_downloads_end_in_the_right_bytes(
    server, target, monkeypatch, faults, connections
):
    monkeypatch.setattr(segments, "TIMEOUT", (60, 0.5))
    server.faults = list(faults)
    fetch(server.url, target, SIZE, MD5, SHA256, connections=connections)
    assert target.read_bytes() == CONTENT
    assert len(server.faults) < len(faults) and list(target.parent.iterdir()) == [target]


HOPELESS = {
    "never more than the beginning": (web.cut(1000), r"connection closed after|broke off"),
    "always stalled": (web.stall(1000, 1), "stalled"),
    "always dripping": (web.drip(0.02), "stalled: "),
    "wrong range": (web.other_range, r"offers 'bytes 7-.*' instead of bytes \d+-\d+ of 5243003"),
    "wrong bytes": (web.wrong_bytes, rf"not the file expected: expected md5 {MD5}, got "),
    "endless": (web.endless, r"sends more bytes than requested \(up to \d+ of 5243003\)"),
    "compressed": (web.compressed, "answers 206 Partial Content, compressed"),
    "not found": (web.status(404), "answers 404 Not Found"),
    "a page instead": (web.status(200), r"offers 5 bytes \(status 200\) instead of 5243003"),
    "redirected in circles": (web.status(302, Location="/file.bin"), "redirects"),
    "redirected to a file": (
        web.status(302, Location="file:///etc/passwd"),
        "No connection adapters",
    ),
    "always overloaded": (web.status(503), r"answers 503 Service Unavailable \(4 times\)"),
    "closed for a week": (web.status(503, Retry_After="604800"), "asks to wait for 604800 seconds"),
}


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize(("fault", "message"), HOPELESS.values(), ids=HOPELESS)
def test_hopeless_downloads_end_in_a_clear_error_or_at_a_mirror(
    server, target, monkeypatch, fault, message, connections
):
    server.always = fault
    with monkeypatch.context() as patched:
        patched.setattr(segments, "TIMEOUT", (60, 0.5))
        with pytest.raises(UserError, match=f"{re.escape(server.url)}: .*{message}"):
            fetch(server.url, target, SIZE, MD5, connections=connections)
    assert not target.exists()
    with serving(CONTENT) as good:
        fetch(
            server.url,
            target,
            SIZE,
            MD5,
            connections=connections,
            mirrors=["http://127.0.0.1:9/x", f"{good.base}/coco/"],
        )
    assert target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file.bin", "no-such-scheme", "http://"])
def test_unreachable_addresses_are_reported(target, url):
    with pytest.raises(UserError, match=re.escape(url)):
        fetch(url, target, SIZE, MD5)
    assert list(target.parent.iterdir()) == []


def test_waits_grow_and_respect_the_server(server, target, waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=115), usegmt=True)
    server.faults = [
        web.status(503),
        web.status(503, Retry_After="20"),
        web.status(503, Retry_After=later),
    ]
    fetch(server.url, target, SIZE, MD5, connections=1)
    assert waits[:2] == [1, 20] and 60 < waits[2] <= 115


def test_redirects_are_followed_with_their_range(server, target):
    with serving(CONTENT) as moved:
        server.always = web.status(301, Location=moved.url)
        fetch(server.url, target, SIZE, MD5)
    assert sorted(moved.asked) == sorted([FIRST, SECOND, THIRD])


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", CONTENT[: 3 * MIB]])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("part", [b"", CONTENT[:1000]])
def test_a_file_of_another_size_is_refused(server, target, content, ignored, part):
    server.content = content
    server.always = web.ignore_ranges if ignored else server.always
    leave_part(target, part)
    with pytest.raises(UserError, match=f"{SIZE}|shorter than expected"):
        fetch(server.url, target, SIZE, MD5)
    assert not target.exists()


def test_wrong_bytes_of_one_address_do_not_spoil_the_next(server, target):
    """The first address sends a wrong segment, then fails; the mirror is not blamed for it."""
    server.faults = [web.wrong_bytes, web.status(404)]
    with serving(CONTENT) as good:
        fetch(server.url, target, SIZE, MD5, mirrors=[good.base], connections=1)
    assert target.read_bytes() == CONTENT
    assert good.asked == [SECOND, THIRD, FIRST, SECOND, THIRD]


def test_each_checksum_is_compared(server, target):
    with pytest.raises(UserError, match=f"expected sha256 {'0' * 64}, got {SHA256}"):
        fetch(server.url, target, SIZE, MD5, "0" * 64)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"mine", b"x" * SIZE])
def test_an_existing_file_that_differs_is_kept(server, target, content):
    target.parent.mkdir()
    target.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(str(target))}: .* remove it"):
        fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == content
    assert server.asked == []


def test_a_full_disk_is_detected_before_the_download(server, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=SIZE + SPARE - 1))
    with pytest.raises(UserError, match="GB free on this disk"):
        fetch(server.url, target, SIZE, MD5)
    assert server.asked == []
    part_of(target).write_bytes(CONTENT[: 2**16])  # bytes that have arrived need no more room
    assert fetch(server.url, target, SIZE, MD5) == target


def test_room_is_counted_over_all_folders_of_a_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=SPARE + 100))
    check_room({tmp_path / "a" / "b": 50, tmp_path / "c": 50})
    with pytest.raises(UserError, match="GB free"):
        check_room({tmp_path / "a" / "b": 50, tmp_path / "c": 51})


def test_a_disk_that_fills_up_during_the_download(server, target, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(
            UserError, match=r"file\.bin\.part: cannot write \(No space left on device\)"
        ):
            fetch(server.url, target, SIZE, MD5)
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT


def test_a_users_folder_replaces_the_network(target, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file.bin").write_bytes(CONTENT)
    fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5, folder=mine, offline=True)
    assert target.is_symlink() and target.read_bytes() == CONTENT
    shutil.rmtree(mine)  # breaks the link, which is replaced once the folder is back
    with pytest.raises(
        UserError, match=rf"offline, and there is no file.bin \(5,243,003 bytes\) in {mine}"
    ):
        fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5, folder=mine, offline=True)
    mine.mkdir()
    (mine / "file.bin").write_bytes(CONTENT)
    fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5, folder=mine)
    assert target.read_bytes() == CONTENT


def test_a_wrong_file_of_the_users_is_reported_and_kept(server, target, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"x" * SIZE)
    with pytest.raises(UserError, match=rf"{tmp_path}/file\.bin: not the file expected"):
        fetch(server.url, target, SIZE, MD5, folder=tmp_path)
    assert server.asked == [] and not target.exists() and (tmp_path / "file.bin").exists()


def test_offline_makes_no_request(server: Server, target):
    with pytest.raises(UserError, match=r"offline, .* no folder that may have it is given"):
        fetch(server.url, target, SIZE, MD5, offline=True)
    assert server.asked == []


def test_a_download_without_a_checksum_is_refused(server, target):
    with pytest.raises(UserError, match="no checksum"):
        fetch(server.url, target, SIZE)
