"""Text that terminals, encodings or English grammar could trip over."""

import io
import os

import pytest

from dsacap.common.printable import counted, never_fail_on, on_one_line, printable


@pytest.mark.parametrize("text", [os.fsdecode(b"a\xff"), "a\ud83d", "a\udc00"])
def test_half_characters_are_replaced(text):
    assert printable(text) == "a\ufffd"
    assert on_one_line(text).isascii()


def test_what_moves_the_cursor_is_escaped():
    assert on_one_line("é\n\x1b[2J\u202e") == r"é\n\x1b[2J\u202e"


def test_an_ascii_terminal_gets_escapes():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    never_fail_on(stream)
    print("é \ud83d", end="", file=stream, flush=True)
    assert stream.buffer.getvalue() == rb"\xe9 \ud83d"
    never_fail_on(io.StringIO())  # has no encoding


def test_nouns_agree_with_their_numbers():
    assert [counted(n, "image") for n in (0, 1, 25010)] == ["0 images", "1 image", "25,010 images"]
