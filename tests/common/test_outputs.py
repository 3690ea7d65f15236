"""Outputs are neither inputs nor each other, and are written where the user means."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import write_text
from dsacap.common.outputs import STDOUT, beside, check_outputs, output_path, print_written


def test_an_input_is_never_an_output(tmp_path):
    """By whatever name: itself, a link, a hard link, another path to it."""
    given = tmp_path / "given.json"
    given.write_text("x")
    (tmp_path / "link").symlink_to(given)
    os.link(given, tmp_path / "hard")
    (tmp_path / "folder").mkdir()
    for name in ("given.json", "link", "hard", "folder/../given.json"):
        with pytest.raises(UserError, match=r"is an input.*; write to another file"):
            check_outputs([tmp_path / name], [given])
    check_outputs([tmp_path / "new.json", None], [given])


def test_two_outputs_are_two_files(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("a", "./a", "link"):
        with pytest.raises(UserError, match="is named for two outputs"):
            check_outputs([tmp_path / "a", tmp_path / name])
    check_outputs([tmp_path / "a", tmp_path / "b"])
    check_outputs([tmp_path / os.devnull, tmp_path / os.devnull])


def test_a_place_where_no_file_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a folder; name a file"):
        check_outputs([tmp_path])
    with pytest.raises(UserError, match="file is a file"):
        check_outputs([tmp_path / "file" / "below"])
    with pytest.raises(UserError, match="cannot be written"):
        check_outputs([tmp_path / ("x" * 300)])


@pytest.mark.parametrize("name", ["/proc/none", "/proc/none/deep/file", "n\0ul"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(name):
    with pytest.raises(UserError, match=r"cannot be written: .*; name another file"):
        check_outputs([Path(name)])


def test_the_check_leaves_nothing_behind(tmp_path):
    check_outputs([tmp_path / "file", tmp_path / "new" / "folder" / "file"])
    assert not list(tmp_path.iterdir())


def test_standard_output_takes_one_output_alone(capsys):
    assert output_path("-") == STDOUT and output_path("./-") == Path("-")
    with pytest.raises(UserError, match="is named for two outputs"):
        check_outputs([STDOUT, STDOUT])
    for outputs in ([STDOUT], [None, Path("x")]):
        with beside(outputs):
            print(len(outputs))
    assert capsys.readouterr() == ("2\n", "1\n")


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "other").mkdir()
    target, link = tmp_path / "other" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["target"]


def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "text")
    reader.join()
    assert read == ["text"] and pipe.is_fifo()


def test_standard_output_is_written_after_what_it_has(tmp_path):
    """A log that it is redirected to stays."""
    log = tmp_path / "log"
    log.write_text("before\n")
    code = (
        "from dsacap.common.files import write_text; print('first'); write_text('/dev/stdout', 'x')"
    )
    with log.open("a") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert log.read_text() == "before\nfirst\nx"
    piped = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"first\nx"


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be written"):
        check_outputs([tmp_path / "a"])


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, "text")
    assert path.read_text() == "text"


def test_written_files_are_named_but_not_standard_output(tmp_path, capsys):
    print_written([tmp_path / "a", None, STDOUT, tmp_path / "b"])
    assert capsys.readouterr().err == f"wrote {tmp_path / 'a'}, {tmp_path / 'b'}\n"
    print_written([None, STDOUT])
    assert capsys.readouterr().err == ""
