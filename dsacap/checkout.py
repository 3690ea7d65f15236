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
    if not all(is_commit(commit) for commit in (old, new or old)):
        return None
    told = git("diff", "--numstat", "--no-renames", old, *([new] if new else []), "--", *paths)
    if told is None:
        return None
    lines = [line.split("\t") for line in told.splitlines()]
    return [name for *_, name in sorted(lines, key=lambda line: -sum(int(n) for n in line[:2] if n.isdigit()))]


def stage_versions(commit: str | None) -> dict[str, int] | None:
    """layout.VERSIONS of a commit, or of the files that lie here: what was declared to change results. None where git cannot tell."""
    text = _file_at(commit, _LAYOUT)
    found = _VERSIONS.search(text or "")
    return ast.literal_eval(found[1]) if found else None


def pins(commit: str | None) -> dict[str, str] | None:
    """Package -> version in the lock file of a commit, or in that which lies here. None where git does not know the commit."""
    text = _file_at(commit, LOCK)
    return None if text is None else dict(_PIN.findall(text))


def _file_at(commit: str | None, name: str) -> str | None:
    """A file of this checkout, as it was at a commit or as it lies here."""
    if commit is None:
        return (ROOT / name).read_text(encoding="utf-8")
    return git("show", f"{commit}:{name}") if is_commit(commit) else None


def is_commit(name: str) -> bool:
    """What a table calls a commit may be anything: `--output=FILE` would have git write there."""
    return bool(re.fullmatch(r"[0-9a-f]{7,64}", name))
