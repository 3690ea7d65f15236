import json
import signal
import subprocess

import pytest

from dsacap.common.errors import UserError
from dsacap.text import ptb_tokenizer
from dsacap.text.ptb_tokenizer import ptb_tokenize
from stock import stock_tokenize

AWKWARD = [
    'A man says "hello, world" -- twice...',
    "",
    "A dog's (brown) tail; isn't it?",
    "   ",
    "People try the Wii U.",
    "They can't see it.",
    "a café, a 1 1/2 cup & the U.S. Co.",
    "people try the Wii U.",
    "a photo | a [mask] {x} <s> #1 @ 50% http://a.b/c 3:45pm",
    "A\ttab",
    "the same",
    "the same",
    "the end, etc.",
]


def test_tokens_of_a_caption():
    assert ptb_tokenize(["A man's dog, running (fast)!"]) == [
        "a man 's dog running -lrb- fast -rrb-"
    ]


@pytest.mark.parametrize("captions", [AWKWARD, AWKWARD[::-1], [*AWKWARD, "", ""], [""]])
def test_equals_the_stock_tokeniser(captions):
    assert ptb_tokenize(captions) == stock_tokenize(captions)


def test_equals_the_stock_tokeniser_on_coco(real_data):
    captions = [
        a["caption"]
        for a in json.loads((real_data / "coco" / "captions_test5k.json").read_text())[
            "annotations"
        ]
    ]
    assert len(captions) == 25_010
    assert ptb_tokenize(captions) == stock_tokenize(captions)


def test_no_captions():
    assert ptb_tokenize([]) == []


def test_line_separators_do_not_shift_captions():
    separators = [
        "\n",
        "\r",
        "\r\n",
        "\v",
        "\f",
        "\x1c",
        "\x1d",
        "\x1e",
        "\x85",
        "\u2028",
        "\u2029",
    ]
    captions = [
        caption
        for s in separators
        for caption in (f"a{s}cat", f"{s}a dog", f"a bird{s}", s, "a fence")
    ]
    assert ptb_tokenize(captions) == ["a cat", "a dog", "a bird", "", "a fence"] * len(separators)


def test_control_characters_do_not_shift_captions():
    captions = [
        caption for code in range(0x300) for caption in (f"a {chr(code)} cat", f"fence {code}")
    ]
    assert ptb_tokenize(captions)[1::2] == [f"fence {code}" for code in range(0x300)]


def test_half_a_surrogate_pair():
    assert ptb_tokenize(["a \ud800 cat", "a dog"]) == ["a cat", "a dog"]


def test_failing_java_is_reported(fake_java):
    fake_java("echo out of memory >&2; exit 3")
    with pytest.raises(UserError, match=r"exit status 3.*out of memory"):
        ptb_tokenize(["a cat"])


def test_lost_lines_are_noticed(fake_java):
    fake_java("cat >/dev/null; echo a cat")
    with pytest.raises(RuntimeError, match="2 lines for 3 captions"):
        ptb_tokenize(["a cat", "a dog", "a bird"])


def test_java_runs_again_after_a_kill(monkeypatch):
    run_java, calls = subprocess.run, []

    def run(*arguments, **options):
        calls.append(arguments)
        return (
            subprocess.CompletedProcess((), -signal.SIGKILL)
            if len(calls) == 1
            else run_java(*arguments, **options)
        )

    monkeypatch.setattr(subprocess, "run", run)
    assert ptb_tokenize(["A dog."]) == ["a dog"] and len(calls) == 2


def test_java_that_hangs_or_is_killed_twice_is_reported(monkeypatch):
    with (
        monkeypatch.context() as patched,
        pytest.raises(UserError, match=r"failed twice: Java gave no answer within 0\.01 s"),
    ):
        patched.setattr(ptb_tokenizer, "TIMEOUT", 0.01)
        ptb_tokenize(["A dog."])
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), -signal.SIGKILL)
    )
    with pytest.raises(UserError, match="failed twice: Java was ended by SIGKILL"):
        ptb_tokenize(["A dog."])
