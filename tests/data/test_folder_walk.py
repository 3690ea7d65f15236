"""Folders with links, circles of links, and things that are no files."""

import os
import socket

import pytest

from dsacap.common.errors import UserError
from dsacap.data.folder_walk import walk

LINKED, ABOVE = "a folder that is read under another name", "a link to a folder above"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "inner").mkdir(parents=True)
    for name in ("root/a", "root/sub/b", "root/sub/deep/c", "outside/d", "outside/inner/e"):
        (tmp_path / name).touch()
    return tmp_path / "root"


OWN = {"a", "sub/b", "sub/deep/c"}


@pytest.mark.parametrize(
    ("links", "more", "left_out"),
    [
        ({}, set(), {}),
        ({"z": "../outside"}, {"z/d", "z/inner/e"}, {}),
        ({"sub/z": "../../outside/inner"}, {"sub/z/e"}, {}),
        ({"z": "."}, set(), {LINKED: ["z"]}),
        ({"sub/deep/z": "../.."}, set(), {LINKED: ["sub/deep/z"]}),
        ({"0": "sub"}, set(), {LINKED: ["0"]}),  # the folder itself goes before the link
        ({"z": ".."}, set(), {ABOVE: ["z"]}),
        ({"z": "/"}, set(), {ABOVE: ["z"]}),
        ({"y": "../outside", "z": "../outside"}, {"y/d", "y/inner/e"}, {LINKED: ["z"]}),
        (
            {"y": "../outside", "../outside/back": "../root", "../outside/z": "inner"},
            {"y/d", "y/inner/e"},
            {LINKED: ["y/back", "y/z"]},
        ),
        ({"z": "gone", "circle": "circle"}, {"z", "circle"}, {}),
    ],
)
def test_links_are_followed_and_no_folder_is_read_twice(root, links, more, left_out):
    for name, target in links.items():
        (root / name).symlink_to(target)
    files, found = walk(root)
    assert len(files) == len(set(files)) and set(files) == OWN | more
    assert found == left_out


def test_folders_that_link_to_each_other_are_read_in_no_time(tmp_path):
    for i in range(30):  # without care there are 30! paths
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "photo").touch()
        for j in range(30):
            (tmp_path / f"{i}" / f"to{j}").symlink_to(f"../{j}")
    files, left_out = walk(tmp_path)
    assert len(files) == 30 and len(left_out[LINKED]) == 900


def test_pipes_sockets_and_devices_are_left_out(root, monkeypatch):
    os.mkfifo(root / "pipe.jpg")
    (root / "zero.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(root)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        files, left_out = walk(root)
    assert set(files) == OWN
    assert left_out == {"neither file nor folder": ["pipe.jpg", "socket", "zero.jpg"]}


def test_a_folder_that_cannot_be_read_is_among_the_files(root, monkeypatch):
    scandir = os.scandir

    def forbidden(path):
        if path.name in ("deep", "outside"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert set(walk(root)[0]) == {"a", "sub/b", "sub/deep"}
    with pytest.raises(UserError, match="outside: cannot be read: Permission denied"):
        walk(root.parent / "outside")
