"""The git checkout that this package runs from, asked by git itself. Where it cannot tell, the answer is None, never a guess."""

import ast
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
_LAYOUT = "dsacap/layout.py"
_VERSIONS = re.compile(r"^VERSIONS = (\{.*?\})", re.MULTILINE | re.DOTALL)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def git(*arguments: str) -> str | None:
    """What git prints; None where there is no git, no checkout, or no such object."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def files_changed(old: str, new: str | None, paths: Sequence[str]) -> list[str] | None:
    """Those of `paths` that differ between two commits, or between one and the files as they lie here; most changed lines first. None where
    git does not know a commit."""
    told = git("diff", "--numstat", "--no-renames", old, *([new] if new else []), "--", *paths)
    if told is None:
        return None
    lines = [line.split("\t") for line in told.splitlines()]
    return [name for *_, name in sorted(lines, key=lambda line: -sum(int(n) for n in line[:2] if n.isdigit()))]


def stage_versions(commit: str | None) -> dict[str, int] | None:
    """layout.VERSIONS of a commit, or of the files that lie here: what was declared to change results. None where git cannot tell."""
    text = git("show", f"{commit}:{_LAYOUT}") if commit else (ROOT / _LAYOUT).read_text(encoding="utf-8")
    found = _VERSIONS.search(text or "")
    return ast.literal_eval(found[1]) if found else None


def pins(commit: str | None) -> dict[str, str] | None:
    """Package -> version in the lock file of a commit, or in that which lies here. None where git does not know the commit."""
    text = git("show", f"{commit}:{LOCK}") if commit else (ROOT / LOCK).read_text(encoding="utf-8")
    return None if text is None else dict(_PIN.findall(text))
