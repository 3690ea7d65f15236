"""Parts of downloads are continued, or fetched again if they are wrong."""

import signal
import subprocess
import sys
import time

import pytest

import web
from downloaded import CONTENT, MD5, SIZE, THIRD, leave_part, part_of
from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.download.fetch import fetch, lacking
from web import MIB


def test_a_part_is_continued(server, target):
    leave_part(target, CONTENT[: 3 * MIB])  # as other tools leave one
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT
    assert sorted(server.asked) == sorted([f"bytes={3 * MIB}-{4 * MIB - 1}", THIRD])


def test_a_part_with_holes_is_continued(server, target):
    server.faults = [web.cut(1000), lambda answer: None, web.cut(5), *[web.status(404)] * 2]
    with pytest.raises(UserError):
        fetch(server.url, target, SIZE, MD5, connections=1)
    assert read_json(target.with_name("file.bin.part.json"))["have"] == [2 * MIB, 5, 0]
    assert lacking(target, SIZE) <= SIZE - 2 * MIB
    server.asked.clear(), server.faults.clear()
    fetch(server.url, target, SIZE, MD5, connections=1)
    assert server.asked == [f"bytes={2 * MIB + 5}-{4 * MIB - 1}", THIRD]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"x" * 1000, b"x" * SIZE, CONTENT + b"x", b"x" * (SIZE + 1)])
def test_a_wrong_part_is_fetched_again_completely(server, target, content):
    leave_part(target, content)
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT


def test_a_part_that_lost_bytes_is_fetched_again(server, target):
    server.faults = [lambda answer: None, web.status(404)]
    with pytest.raises(UserError):
        fetch(server.url, target, SIZE, MD5, connections=1)
    part_of(target).write_bytes(CONTENT[:10])
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT


def test_a_complete_part_needs_no_network(target):
    leave_part(target, CONTENT)
    fetch("http://127.0.0.1:9/file.bin", target, SIZE, MD5)
    assert target.read_bytes() == CONTENT


CHILD = """
import sys
from pathlib import Path
from dsacap.data.download import segments
from dsacap.data.download.fetch import fetch
segments.SEGMENT, segments._SAVE_SECONDS = 2 * 2**20, 0
fetch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], connections=2)
"""


def test_a_killed_download_is_continued(server, target):
    """The process gets a real SIGKILL; before, no other process may fetch the same file."""
    server.always = web.stall(MIB, 30)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, server.url, target, str(SIZE), MD5], stderr=subprocess.DEVNULL
    )
    try:
        state = target.with_name("file.bin.part.json")
        while not state.exists() or sum(read_json(state)["have"]) < MIB:
            assert child.poll() is None
            time.sleep(0.05)
        with pytest.raises(UserError, match="another process is fetching this file"):
            fetch(server.url, target, SIZE, MD5)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    server.always = lambda answer: None
    server.asked.clear()
    fetch(server.url, target, SIZE, MD5)
    assert target.read_bytes() == CONTENT
    assert (
        sum(
            int(last) + 1 - int(first)
            for first, last in (r.removeprefix("bytes=").split("-") for r in server.asked)
        )
        <= SIZE - MIB
    )
